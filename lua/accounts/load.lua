-- accounts/load.lua: return what is stored under a key of a name, or nothing if there is none; nothing is changed.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, an account is the same at any time
-- returns  {moves, created_ms, disabled 0 or 1, gone 0 or 1, user, hash, key_id, revision, rest, target}, or {} if there
--          is none; moves is -1 while it is pending, target the key id of the secret under whose key it moves, or empty
-- expires  nothing is written
-- cost     O(1), 1 command
-- idempotent yes
-- flags    no-writes

local account = KEYS[1]
local _ = tonumber(ARGV[1])

local found = redis.call('HMGET', account, 'n', 'c', 'dis', 'gone', 'u', 'h', 'k', 'v', 'x', 'to')

if not found[6] then return {} end

return {tonumber(found[1] or 0), tonumber(found[2] or 0), tonumber(found[3] or 0), found[4] and 1 or 0,
  found[5] or '', found[6], found[7] or '', found[8] or '', found[9] or '', found[10] or ''}
