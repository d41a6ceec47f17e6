-- cache/invalidate_tags.lua: make every entry loaded before now that carries one of the tags invisible; scans no entry.
--
-- A mark is the sequence (12 digits) and the time (13 digits) until which it is kept: the latest expiry of any entry so
-- far, and of any that is being loaded. Then it applies to no entry any more, and lib/sweep_marks.lua forgets it.
--
-- KEYS[1]  clock_key   hash; s sequence, x latest expiry, w when a sweep is due, t:<tag> marks
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2..]            text; 16 hex digits, or * for every entry, or ? for every load in progress
-- returns  {sequence}
-- expires  marks when the entries that they apply to have expired, by the sweep; the clock never
-- cost     O(tags), 3 commands for up to 1000 tags and one for each further 1000; 5..7 if a sweep is due
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/is_ahead.lua
--#include lib/sweep_marks.lua

local clock_key = KEYS[1]
local now_ms = clock(tonumber(ARGV[1]))

local times = redis.call('HMGET', clock_key, 'x', 'w')
local latest_ms, due_ms = tonumber(times[1] or 0), tonumber(times[2] or nil)
local end_ms = is_ahead(latest_ms, now_ms) and latest_ms or now_ms

local sequence = redis.call('HINCRBY', clock_key, 's', 1)
local mark = string.format('%012d%013d', sequence, end_ms)
for first = 2, #ARGV, 1000 do -- Lua unpacks 7,999 values at most
  local fields = {}
  for i = first, math.min(first + 999, #ARGV) do
    fields[#fields + 1] = 't:' .. ARGV[i]
    fields[#fields + 1] = mark
  end
  redis.call('HSET', clock_key, unpack(fields))
end
if not due_ms then redis.call('HSET', clock_key, 'w', string.format('%013d', end_ms)) end
sweep_marks(clock_key, due_ms, now_ms)
return {sequence}
