-- accounts/bury.lua: leave the mark of a deleted account under another key that it could have; one of more moves stays.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, the mark has a relative expiry
-- ARGV[2]  moves       integer >= 0; how often the deleted account had moved
-- ARGV[3]  mark_ms     integer 60000..86400000; how long the mark stays
-- returns  {1}
-- expires  the mark, after mark_ms
-- cost     O(1), 4 commands
-- idempotent yes
-- flags    none

local account = KEYS[1]
local _ = tonumber(ARGV[1])
local moves, mark_ms = tonumber(ARGV[2]), tonumber(ARGV[3])

local found = redis.call('HMGET', account, 'h', 'n')

if found[1] and tonumber(found[2] or 0) > moves then return {1} end

redis.call('DEL', account)
redis.call('HSET', account, 'h', '', 'n', moves, 'gone', '')
redis.call('PEXPIRE', account, mark_ms)
return {1}
