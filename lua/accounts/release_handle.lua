-- accounts/release_handle.lua: take back the claim of a change that was refused; those of other changes stay.
--
-- KEYS[1]  handle      hash; the name of the account, by the revision of each change that brought the handle
-- ARGV[1]  now_ms      integer; unused, a claim has no time
-- ARGV[2]  revision    text, 1..64 characters; the one of the change
-- returns  {released 0 or 1}
-- expires  nothing is written
-- cost     O(1), 1 command
-- idempotent yes
-- flags    allow-oom

local handle = KEYS[1]
local _ = tonumber(ARGV[1])
local revision = ARGV[2]

local released = redis.call('HDEL', handle, revision)

return {released}
