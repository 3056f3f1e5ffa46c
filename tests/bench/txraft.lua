-- "set": writes, by GET. "post": writes by POST, as programs send them. "get": linearizable reads. "stale": reads of what
-- the node has. "mixed": half and half. "batch": writes, a hundred in a request. "fill": every key once.
dofile(debug.getinfo(1).source:match("^@(.*/)") .. "common.lua")
local json = { ["Content-Type"] = "application/json" }
local form = { ["Content-Type"] = "application/x-www-form-urlencoded" }

function init(args)
  begin(args)
  value = string.rep("v", tonumber(args[2]))
end

function request()
  local number, kind = key_and_kind()
  local key = "key" .. number
  if kind == "batch" then
    local operations = {}
    for each = 1, 100 do
      operations[each] = '{"set":{"key":"key' .. math.random(keys) .. '","val":"' .. value .. '"}}'
    end
    return wrk.format("POST", "/batch", json, "[" .. table.concat(operations, ",") .. "]")
  elseif kind == "post" or (kind == "set" and #value > 4000) then
    return wrk.format("POST", "/set", form, "key=" .. key .. "&val=" .. value)
  elseif kind == "set" then
    return wrk.format("GET", "/set?key=" .. key .. "&val=" .. value)
  elseif kind == "stale" then
    return wrk.format("GET", "/get?key=" .. key .. "&consistency=stale")
  end
  return wrk.format("GET", "/get?key=" .. key)
end
