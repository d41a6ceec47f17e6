-- lib/throttle_failures.lua: return the failures that a hash counts: recent, in_a_row, since_ms, at_ms and until_ms.
local function throttle_failures(key, memory_ms, now_ms)
  local found = redis.call('HMGET', key, 'n', 'c', 's', 'a', 'u')
  local failures = {
    recent = tonumber(found[1] or 0), in_a_row = tonumber(found[2] or 0), since_ms = tonumber(found[3] or 0),
    at_ms = tonumber(found[4] or 0), until_ms = tonumber(found[5] or 0),
  }
  if failures.at_ms + memory_ms <= now_ms then failures.recent = 0 end
  return failures
end
