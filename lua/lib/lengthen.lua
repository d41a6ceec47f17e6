-- lib/lengthen.lua: let a key live for at least ttl_ms from now; a longer life stays, a key without expiry gets one.
local function lengthen(key, ttl_ms)
  if redis.call('PTTL', key) < ttl_ms then redis.call('PEXPIRE', key, ttl_ms) end
end
