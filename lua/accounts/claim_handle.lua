-- accounts/claim_handle.lua: note the account that has a user handle, for the change of it that is written next.
--
-- Each change has a claim of its own, so that one that is refused takes back its own and no other's.
--
-- KEYS[1]  handle      hash; the name of the account, by the revision of each change that brought the handle
-- ARGV[1]  now_ms      integer; unused, a claim has no time
-- ARGV[2]  revision    text, 1..64 characters; no other change has it
-- ARGV[3]  user        text, 1..128 characters
-- returns  {1}
-- expires  never: it lives as long as the account
-- cost     O(1), 1 command
-- idempotent yes
-- flags    none

local handle = KEYS[1]
local _ = tonumber(ARGV[1])
local revision, user = ARGV[2], ARGV[3]

redis.call('HSET', handle, revision, user)
return {1}
