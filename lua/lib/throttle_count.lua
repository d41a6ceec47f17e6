-- lib/throttle_count.lua: count one failure in a window, and drop the sub-buckets that are over.
local function throttle_count(key, window)
  for _, index in ipairs(window.old) do redis.call('HDEL', key, index) end
  redis.call('HINCRBY', key, string.format('%d', window.index), 1)
  redis.call('PEXPIRE', key, window.kept_ms)
end
