-- accounts/forget_handle.lua: forget a user handle, whose account is deleted.
--
-- KEYS[1]  handle      hash; the name of the account, by the revision of each change that brought the handle
-- ARGV[1]  now_ms      integer; unused, a claim has no time
-- returns  {forgotten 0 or 1}
-- expires  nothing is left
-- cost     O(claims), 1 command
-- idempotent yes
-- flags    allow-oom

local handle = KEYS[1]
local _ = tonumber(ARGV[1])

local forgotten = redis.call('DEL', handle)

return {forgotten}
