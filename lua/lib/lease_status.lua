-- lib/lease_status.lua: return the number of live leases at `key`, and of those that end later than `last_end_ms`.
--
-- The third value is when the last of them ends, at most `last_end_ms`; the fourth is 1 if the value is not ours.
local function lease_status(key, now_ms, last_end_ms)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'zset' then return 0, 0, now_ms, kind == 'none' and 0 or 1 end
  local live, last_ms, too_far_ahead = redis.call('ZCOUNT', key, now_ms + 1, '+inf'), now_ms, 0
  if live > 0 then last_ms = tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]) end
  if last_ms > last_end_ms then
    last_ms, too_far_ahead = last_end_ms, redis.call('ZCOUNT', key, last_end_ms + 1, '+inf')
  end
  return live, too_far_ahead, last_ms, 0
end
