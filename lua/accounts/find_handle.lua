-- accounts/find_handle.lua: return the name of the account that has a user handle, or nothing; nothing is changed.
--
-- KEYS[1]  handle      hash; the name of the account, by the revision of each change that brought the handle
-- ARGV[1]  now_ms      integer; unused, a claim has no time
-- returns  {user}, or {} if no account has it
-- expires  nothing is written
-- cost     O(claims), 1 command
-- idempotent yes
-- flags    no-writes

local handle = KEYS[1]
local _ = tonumber(ARGV[1])

local users = redis.call('HVALS', handle)

if not users[1] then return {} end

return {users[1]}
