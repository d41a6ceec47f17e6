-- accounts/arrive.lua: store an account that has departed from another key; one that has moved as often or more stays.
--
-- What is overwritten counts no more: a record of fewer moves, or a pending one of a sign-up that came too late.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, the account keeps its times
-- ARGV[2]  moves       integer >= 1; how often it has moved, this time included
-- ARGV[3]  created_ms  integer
-- ARGV[4]  disabled    0 or 1
-- ARGV[5]  user        text, 1..128 characters
-- ARGV[6]  hash        text; the password as a PHC string, or empty
-- ARGV[7]  key_id      text; the secret whose pepper is in the hash, 8 hex digits, or empty
-- ARGV[8]  revision    text, 0..64 characters; empty for an account that an earlier version made
-- ARGV[9]  rest        text, up to 64 KiB; what only callers read
-- returns  {1}
-- expires  never: an account lives until it is deleted
-- cost     O(1), 3 commands
-- idempotent yes
-- flags    none

local account = KEYS[1]
local _ = tonumber(ARGV[1])
local moves, created_ms, disabled = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local user, hash, key_id, revision, rest = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]

local found = redis.call('HMGET', account, 'h', 'n')

if found[1] and tonumber(found[2] or 0) >= moves then return {1} end

redis.call('DEL', account)
redis.call('HSET', account, 'u', user, 'h', hash, 'k', key_id, 'c', created_ms, 'dis', disabled, 'n', moves,
  'v', revision, 'x', rest)
return {1}
