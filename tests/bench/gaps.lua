-- txraft.lua, and the longest time in which none of all connections was answered 200.
dofile(debug.getinfo(1).source:match("^@(.*/)") .. "txraft.lua")
local ffi = require("ffi")
ffi.cdef[[ typedef struct { long seconds, nanoseconds; } moment; int clock_gettime(int, moment *); ]]
local moment, loader, summarize = ffi.new("moment"), nil, done
longest, refused = 0, 0

local function now()  -- of the monotonic clock
  ffi.C.clock_gettime(1, moment)
  return tonumber(moment.seconds) + tonumber(moment.nanoseconds) / 1e9
end

function setup(thread)
  loader = thread
  thread:set("last", now())
end

function response(status)
  if status ~= 200 then
    refused = refused + 1
    return
  end
  local answered = now()
  longest, last = math.max(longest, answered - last), answered
end

function done(summary, latency, requests)
  summarize(summary, latency, requests)
  local since = now() - loader:get("last")  -- it may end in such a time
  io.write(string.format("longest %f\n", math.max(loader:get("longest"), since)))
  io.write(string.format("refused %d\n", loader:get("refused")))
end
