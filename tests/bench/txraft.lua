-- "set": writes, by GET. "post": writes by POST, as programs send them. "get": linearizable reads. "stale": reads of what
-- the node has. "mixed": half and half. "batch": writes, a hundred in a request.
dofile(debug.getinfo(1).source:match("^@(.*/)") .. "common.lua")
local json = { ["Content-Type"] = "application/json" }
local form = { ["Content-Type"] = "application/x-www-form-urlencoded" }

function init(args)
  begin(args)
  value = string.rep("v", size)
end

local function set(number)
  return '{"set":{"key":"key' .. number .. '","val":"' .. value .. '"}}'
end

function request()
  local number, kind = key_and_kind()
  local key = "key" .. number
  if kind == "batch" then
    return wrk.format("POST", "/batch", json, hundred(set))
  elseif kind == "post" or (kind == "set" and size > 4000) then
    return wrk.format("POST", "/set", form, "key=" .. key .. "&val=" .. value)
  elseif kind == "set" then
    return wrk.format("GET", "/set?key=" .. key .. "&val=" .. value)
  elseif kind == "stale" then
    return wrk.format("GET", "/get?key=" .. key .. "&consistency=stale")
  end
  return wrk.format("GET", "/get?key=" .. key)
end
