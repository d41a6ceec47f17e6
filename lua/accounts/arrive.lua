-- accounts/arrive.lua: store an account that has departed from another key; one that has moved as often or more stays.
--
-- What is overwritten counts no more: a record of fewer moves, or a pending one of a sign-up that came too late.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, the account keeps its times
-- ARGV[2]  moves       integer >= 1; how often it has moved, this time included
-- ARGV[3]  disabled    0 or 1
-- ARGV[4]  created_ms  integer
-- ARGV[5]  user        text, 1..128 characters
-- ARGV[6]  hash        text; the password as a PHC string
-- ARGV[7]  key_id      text, 8 hex digits; the secret whose pepper is in the hash
-- returns  {1}
-- expires  never: an account lives until it is deleted
-- cost     O(1), 3 commands
-- idempotent yes
-- flags    none

local account = KEYS[1]
local _ = tonumber(ARGV[1])
local moves, disabled, created_ms = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local user, hash, key_id = ARGV[5], ARGV[6], ARGV[7]

local found = redis.call('HMGET', account, 'h', 'n')

if found[1] and tonumber(found[2] or 0) >= moves then return {1} end

redis.call('DEL', account)
redis.call('HSET', account, 'u', user, 'h', hash, 'k', key_id, 'c', created_ms, 'dis', disabled, 'n', moves)
return {1}
