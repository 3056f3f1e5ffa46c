-- What txraft.lua does, through etcd's JSON gateway, which wants keys and values in base64.
local value = string.rep("dnZ2", 85)  -- 255 times "v"
local keys = {}
local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(text)  -- of a multiple of three bytes
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    for shift = 18, 0, -6 do
      local digit = math.floor((a * 65536 + b * 256 + c) / 2 ^ shift) % 64
      out[#out + 1] = alphabet:sub(digit + 1, digit + 1)
    end
  end
  return table.concat(out)
end

function init(args)
  math.randomseed(os.time())
  what = args[1]
  for number = 1, 10000 do
    keys[number] = base64(string.format("key%06d", number))
  end
end

function request()
  local body = '{"key":"' .. keys[math.random(10000)] .. '"'
  if what == "set" then
    body = body .. ',"value":"' .. value .. '"'
  end
  local path = what == "set" and "/v3/kv/put" or "/v3/kv/range"
  return wrk.format("POST", path, { ["Content-Type"] = "application/json" }, body .. "}")
end
