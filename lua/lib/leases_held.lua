-- lib/leases_held.lua: count the leases at `key` that go on after now, and of them those that end after `far_ms`.
--
-- The third value is when the last of them ends, at most `far_ms`; the fourth is 1 where the value is not one of ours.
local function leases_held(key, now_ms, far_ms)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'zset' then return 0, 0, now_ms, kind == 'none' and 0 or 1 end
  local held, last_ms, far = redis.call('ZCOUNT', key, now_ms + 1, '+inf'), now_ms, 0
  if held > 0 then last_ms = tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]) end
  if last_ms > far_ms then last_ms, far = far_ms, redis.call('ZCOUNT', key, far_ms + 1, '+inf') end
  return held, far, last_ms, 0
end
