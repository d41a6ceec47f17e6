-- accounts/create.lua: create an account; if the name is taken, nothing is written.
--
-- A second run finds the hash that it wrote itself, because no other has its salt, and replies the same. With a
-- pending_ms the record reserves the name so long and is no account yet: accounts/confirm makes it one.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  user        text, 1..128 characters
-- ARGV[3]  hash        text; the password as a PHC string
-- ARGV[4]  key_id      text, 8 hex digits; the secret whose pepper is in the hash
-- ARGV[5]  pending_ms  integer 0..60000; 0 means that no other key could have the name
-- returns  {made 0 or 1}
-- expires  never: an account lives until it is deleted; a pending one after pending_ms
-- cost     O(1), 3 commands
-- idempotent yes
-- flags    none
--#include lib/now.lua

local account = KEYS[1]
local now_ms, pending_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[5])
local user, hash, key_id = ARGV[2], ARGV[3], ARGV[4]

local present = redis.call('HGET', account, 'h')

if present then return {present == hash and 1 or 0} end

redis.call('HSET', account, 'u', user, 'h', hash, 'k', key_id, 'c', now_ms, 'dis', 0)
if pending_ms > 0 then
  redis.call('HSET', account, 'n', -1)
  redis.call('PEXPIRE', account, pending_ms)
end
return {1}
