-- What txraft.lua does, through etcd's JSON gateway, which is POST always, and wants keys and values in base64.
dofile(debug.getinfo(1).source:match("^@(.*/)") .. "common.lua")
local json = { ["Content-Type"] = "application/json" }
local names, alphabet = {}, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

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
  begin(args)
  value = string.rep("dnZ2", math.ceil(size / 3))  -- "vvv"
  for number = 1, keys do
    names[number] = base64(string.format("key%06d", number))
  end
end

local function put(number)
  return '{"requestPut":{"key":"' .. names[number] .. '","value":"' .. value .. '"}}'
end

function request()
  local number, kind = key_and_kind()
  if kind == "batch" then
    return wrk.format("POST", "/v3/kv/txn", json, '{"success":' .. hundred(put) .. "}")
  end
  local body = '{"key":"' .. names[number] .. '"'
  if kind == "set" or kind == "post" then
    return wrk.format("POST", "/v3/kv/put", json, body .. ',"value":"' .. value .. '"}')
  elseif kind == "stale" then
    return wrk.format("POST", "/v3/kv/range", json, body .. ',"serializable":true}')
  end
  return wrk.format("POST", "/v3/kv/range", json, body .. "}")
end
