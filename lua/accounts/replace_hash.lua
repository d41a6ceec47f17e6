-- accounts/replace_hash.lua: replace a hash by a new one of the same password; one that changed meanwhile stays.
--
-- So does that of an account that moves: accounts/depart has returned it.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, the account keeps its times
-- ARGV[2]  expected    text; the PHC string that was verified
-- ARGV[3]  hash        text; the new PHC string
-- ARGV[4]  key_id      text, 8 hex digits; the secret whose pepper is in the new hash
-- returns  {replaced 0 or 1}
-- expires  never: an account lives until it is deleted
-- cost     O(1), 2 commands
-- idempotent yes
-- flags    none

local account = KEYS[1]
local _ = tonumber(ARGV[1])
local expected, hash, key_id = ARGV[2], ARGV[3], ARGV[4]

local found = redis.call('HMGET', account, 'h', 'to')

if found[1] ~= expected or found[2] then return {found[1] == hash and 1 or 0} end

redis.call('HSET', account, 'h', hash, 'k', key_id)
return {1}
