-- accounts/replace.lua: change an account, unless it has changed since it was read; then nothing is written.
--
-- So does one that moves stay: accounts/depart has returned it. Hash and revision are compared, because an earlier
-- version renews a hash and leaves the revision as it is. A second run finds the revision that it wrote itself.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, the account keeps its times
-- ARGV[2]  expected    text, 0..64 characters; the revision that was read, or empty
-- ARGV[3]  verified    text; the hash that was read, or empty
-- ARGV[4]  hash        text; the new hash, a PHC string, or empty
-- ARGV[5]  key_id      text; the secret whose pepper is in the new hash, 8 hex digits, or empty
-- ARGV[6]  disabled    0 or 1
-- ARGV[7]  revision    text, 1..64 characters; no other change has it
-- ARGV[8]  rest        text, up to 64 KiB; what only callers read
-- returns  {replaced 0 or 1}
-- expires  never: an account lives until it is deleted
-- cost     O(1), 2 commands
-- idempotent yes
-- flags    none

local account = KEYS[1]
local _ = tonumber(ARGV[1])
local expected, verified = ARGV[2], ARGV[3]
local hash, key_id, disabled, revision, rest = ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8]

local found = redis.call('HMGET', account, 'v', 'h', 'to', 'n', 'gone')

local stays = found[3] or found[5] or tonumber(found[4] or 0) < 0
if stays or found[2] ~= verified or (found[1] or '') ~= expected then return {found[1] == revision and 1 or 0} end

redis.call('HSET', account, 'h', hash, 'k', key_id, 'dis', disabled, 'v', revision, 'x', rest)
return {1}
