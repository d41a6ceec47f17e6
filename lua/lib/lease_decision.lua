-- lib/lease_decision.lua: tell whether `held` of `units` permits are too many for one more (1), and for how many ms.
--
-- The wait is until as many have ended as are in the way, if none is renewed or released; at most until `far_ms`.
local function lease_decision(key, held, units, now_ms, far_ms)
  if held < units then return 0, 0 end
  local ends = redis.call('ZRANGEBYSCORE', key, now_ms + 1, '+inf', 'WITHSCORES', 'LIMIT', held - units, 1)
  return 1, math.min(tonumber(ends[2]), far_ms) - now_ms
end
