-- accounts/depart.lua: mark an account as moving to the key of another secret, and return it; it stays as it is then.
--
-- An account that moves already keeps its target, unless that is the former one, whose secret is gone. A pending record
-- is no account, and does not move; nor does the mark of a deleted one.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, the account keeps its times
-- ARGV[2]  target      text, 8 hex digits; the key id of the secret under whose key it will be
-- ARGV[3]  former      text; a target to replace, or empty
-- returns  {moves, created_ms, disabled 0 or 1, user, hash, key_id, revision, rest, target}, or {} if there is no account
-- expires  never, until accounts/remove
-- cost     O(1), 2 commands
-- idempotent yes
-- flags    none

local account = KEYS[1]
local _ = tonumber(ARGV[1])
local target, former = ARGV[2], ARGV[3]

local found = redis.call('HMGET', account, 'n', 'c', 'dis', 'u', 'h', 'k', 'v', 'x', 'to', 'gone')
local moves, present = tonumber(found[1] or 0), found[9]

if not found[5] or found[10] or moves < 0 then return {} end
if present and present ~= former then target = present end

if target ~= present then redis.call('HSET', account, 'to', target) end
return {moves, tonumber(found[2] or 0), tonumber(found[3] or 0), found[4] or '', found[5], found[6] or '',
  found[7] or '', found[8] or '', target}
