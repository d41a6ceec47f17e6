-- cache/invalidate_tags.lua: make every entry loaded before now that carries one of the tags invisible; scans no entry.
--
-- A mark is the sequence (12 digits) and the time (13 digits) of the invalidation. Each call also takes one bounded
-- step over the marks and deletes those that are older than any entry they could apply to, so marks do not pile
-- up; servers below Redis 7.4 and Valkey 9.0 have no expiry for single fields, so that all servers are swept alike.
--
-- KEYS[1]  clock_key   hash; s sequence, c cursor of the sweep, t:<tag> marks
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  keep_ms     integer >= 1; the longest time from the lease of an entry to its expiry
-- ARGV[2+i]            text; 16 hex digits, or * for every entry, or ? for every load in progress
-- returns  {sequence}
-- expires  marks after keep_ms, by the sweep; the clock never
-- cost     O(tags), 3..4 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua

local clock_key = KEYS[1]
local now_ms = clock(tonumber(ARGV[1]))
local keep_ms = tonumber(ARGV[2])

local cursor = redis.call('HGET', clock_key, 'c') or '0'
local page = redis.call('HSCAN', clock_key, cursor, 'MATCH', 't:*', 'COUNT', 30 + 2 * #ARGV)

local old = {}
for i = 1, #page[2], 2 do
  local marked_ms = tonumber(string.sub(page[2][i + 1], 13, 25))
  if marked_ms < now_ms - keep_ms then old[#old + 1] = page[2][i] end
end

local sequence = redis.call('HINCRBY', clock_key, 's', 1)
local fields = {'c', page[1]}
for i = 1, #ARGV - 2 do
  fields[2 * i + 1] = 't:' .. ARGV[2 + i]
  fields[2 * i + 2] = string.format('%012d%013d', sequence, now_ms)
end
if #old > 0 then redis.call('HDEL', clock_key, unpack(old)) end
redis.call('HSET', clock_key, unpack(fields))
return {sequence}
