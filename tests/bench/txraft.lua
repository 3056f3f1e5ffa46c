-- "set": writes of 255 bytes to 10,000 keys. "get": linearizable reads of them.
local value = string.rep("v", 255)

function init(args)
  math.randomseed(os.time())
  what = args[1]
end

function request()
  local path = "/" .. what .. "?key=key" .. math.random(10000)
  if what == "set" then
    path = path .. "&val=" .. value
  end
  return wrk.format("GET", path)
end
