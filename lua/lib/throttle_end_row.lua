-- lib/throttle_end_row.lua: end the row of failures of an account; what they make its next attempts wait goes on.
local function throttle_end_row(key)
  if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'c', 0) end
end
