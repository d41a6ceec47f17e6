-- accounts/load.lua: return what a login needs of a record, or nothing if there is none; nothing is changed.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, a login is the same at any time
-- returns  {disabled 0 or 1, moves, hash, key_id, target}, or {} if there is none; moves is -1 while it is pending,
--          target the key id of the secret under whose key it moves, or empty
-- expires  nothing is written
-- cost     O(1), 1 command
-- idempotent yes
-- flags    no-writes

local account = KEYS[1]
local _ = tonumber(ARGV[1])

local found = redis.call('HMGET', account, 'dis', 'h', 'k', 'n', 'to')

if not found[2] then return {} end

return {tonumber(found[1] or 0), tonumber(found[4] or 0), found[2], found[3], found[5] or ''}
