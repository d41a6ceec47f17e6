-- lib/begin_clock.lua: begin a clock that was lost, and return its epoch, 16 hex digits: of its time, and of a token.
--
-- A copy of the call that began the clock before, which arrives later, does not bring that epoch back.
local function begin_clock(clock_key, token, now_ms)
  local epoch = string.format('%011x', now_ms) .. string.sub(token, 1, 5)
  redis.call('HSET', clock_key, 'e', epoch)
  return epoch
end
