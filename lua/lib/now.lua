-- lib/now.lua: return the time in milliseconds: `given_ms` if it is not 0 (tests), else the server's.
local function clock(given_ms)
  if given_ms > 0 then return given_ms end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
