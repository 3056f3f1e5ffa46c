-- What the scripts for wrk share: which keys there are, and what is said at the end.
function begin(args)
  math.randomseed(os.time())
  what, size, keys = args[1], tonumber(args[2]), tonumber(args[3])
end

function key_and_kind()  -- what to do with which key
  if what == "mixed" then
    return math.random(keys), math.random(2) == 1 and "set" or "get"
  end
  return math.random(keys), what
end

function hundred(operation)  -- what it gives for each of a hundred keys that follow each other, for JSON
  local first, operations = math.random(keys), {}
  for each = 1, 100 do
    operations[each] = operation((first + each) % keys + 1)
  end
  return "[" .. table.concat(operations, ",") .. "]"
end

function cpu()  -- of this process, in microseconds
  local fields, number = {}, 0
  for field in io.open("/proc/self/stat"):read("*a"):gsub("^.*%) ", ""):gmatch("%S+") do
    number = number + 1
    fields[number] = field
  end
  return (fields[12] + fields[13]) * 10000
end

function done(summary, latency, requests)
  for _, percent in ipairs({ 50, 99, 99.9 }) do
    io.write(string.format("latency %s %d\n", percent, latency:percentile(percent)))
  end
  io.write(string.format("cpu %d\n", cpu()))
end
