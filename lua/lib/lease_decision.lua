-- lib/lease_decision.lua: return 1 and the wait in ms if `live` leases leave no permit of `units` free, else 0 and 0.
--
-- The wait ends when enough leases have ended, if none is renewed or released before; at most at `last_end_ms`.
local function lease_decision(key, live, units, now_ms, last_end_ms)
  if live < units then return 0, 0 end
  local ends = redis.call('ZRANGEBYSCORE', key, now_ms + 1, '+inf', 'WITHSCORES', 'LIMIT', live - units, 1)
  return 1, math.min(tonumber(ends[2]), last_end_ms) - now_ms
end
