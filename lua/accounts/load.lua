-- accounts/load.lua: return what a login needs of an account, or nothing if there is none; nothing is changed.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, a login is the same at any time
-- returns  {disabled 0 or 1, hash, key_id}, or {} if there is no account
-- expires  nothing is written
-- cost     O(1), 1 command
-- idempotent yes
-- flags    no-writes

local account = KEYS[1]
local _ = tonumber(ARGV[1])

local found = redis.call('HMGET', account, 'dis', 'h', 'k')

if not found[2] then return {} end

return {tonumber(found[1] or 0), found[2], found[3]}
