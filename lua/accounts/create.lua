-- accounts/create.lua: create an account; if the name is taken, nothing is written.
--
-- A second run finds the revision that it wrote itself, because no other has it, and replies the same. With a
-- pending_ms the record reserves the name so long and is no account yet: accounts/confirm makes it one. The mark of a
-- deleted account that never moved gives way, unless there are other keys, under which something may be on its way.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, the caller gives the time
-- ARGV[2]  user        text, 1..128 characters
-- ARGV[3]  hash        text; the password as a PHC string, or empty
-- ARGV[4]  key_id      text; the secret whose pepper is in the hash, 8 hex digits, or empty
-- ARGV[5]  created_ms  integer; when the account began
-- ARGV[6]  disabled    0 or 1
-- ARGV[7]  revision    text, 1..64 characters; no other change has it
-- ARGV[8]  rest        text, up to 64 KiB; what only callers read
-- ARGV[9]  pending_ms  integer 0..60000; 0 means that no other key could have the name
-- returns  {made 0 or 1}
-- expires  never: an account lives until it is deleted; a pending one after pending_ms
-- cost     O(1), 4 commands
-- idempotent yes
-- flags    none

local account = KEYS[1]
local _ = tonumber(ARGV[1])
local user, hash, key_id, revision, rest = ARGV[2], ARGV[3], ARGV[4], ARGV[7], ARGV[8]
local created_ms, disabled, pending_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[9])

local found = redis.call('HMGET', account, 'h', 'v', 'gone', 'n')

local gives_way = found[3] and pending_ms == 0 and tonumber(found[4] or 0) == 0
if found[1] and not gives_way then return {found[2] == revision and 1 or 0} end

redis.call('DEL', account)
redis.call('HSET', account, 'u', user, 'h', hash, 'k', key_id, 'c', created_ms, 'dis', disabled, 'v', revision,
  'x', rest)
if pending_ms > 0 then
  redis.call('HSET', account, 'n', -1)
  redis.call('PEXPIRE', account, pending_ms)
end
return {1}
