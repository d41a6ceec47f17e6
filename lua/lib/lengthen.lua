-- lib/lengthen.lua: extend the life of a key to at least ttl_ms from now; a key without expiry gets one.
local function lengthen(key, ttl_ms)
  if redis.call('PTTL', key) < ttl_ms then redis.call('PEXPIRE', key, ttl_ms) end
end
