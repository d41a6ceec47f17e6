-- accounts/delete.lua: delete an account and leave a mark, unless it has changed since it was read; then it stays.
--
-- The mark keeps what arrives late from another key from being an account again. A second run finds it.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, the mark has a relative expiry
-- ARGV[2]  expected    text, 0..64 characters; the revision that was read, or empty
-- ARGV[3]  verified    text; the hash that was read, or empty
-- ARGV[4]  mark_ms     integer 60000..86400000; how long the mark stays
-- returns  {deleted 0 or 1, moves}
-- expires  the mark, after mark_ms
-- cost     O(1), 4 commands
-- idempotent yes
-- flags    none

local account = KEYS[1]
local _ = tonumber(ARGV[1])
local expected, verified, mark_ms = ARGV[2], ARGV[3], tonumber(ARGV[4])

local found = redis.call('HMGET', account, 'v', 'h', 'to', 'n', 'gone')
local moves = tonumber(found[4] or 0)

if found[5] then return {found[5] == expected and 1 or 0, moves} end
if found[3] or moves < 0 or found[2] ~= verified or (found[1] or '') ~= expected then return {0, moves} end

redis.call('DEL', account)
redis.call('HSET', account, 'h', '', 'n', moves, 'gone', expected)
redis.call('PEXPIRE', account, mark_ms)
return {1, moves}
