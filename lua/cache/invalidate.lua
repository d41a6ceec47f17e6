-- cache/invalidate.lua: remove entries together with the leases of loads in progress, whose fills are then refused.
--
-- A hold takes the place of a lease: until it ends loads are not stored, because what they read may lag behind.
-- It has a name of its own, so that a load under an earlier one is refused. One that ends later keeps its end. A hold
-- that is evicted, or lost in a failover, ends early.
--
-- KEYS[1]  clock_key   hash; s sequence
-- KEYS[2i..2i+1]       strings; entry and lease of the i-th key
-- ARGV[1]  now_ms      integer; unused here
-- ARGV[2]  hold_ms     integer >= 0; how long no load is stored
-- returns  {sequence, entries that existed}
-- expires  a hold after hold_ms; the sequence of the clock stays
-- cost     O(keys), 1 + 4 * keys commands at most
-- idempotent yes
-- flags    allow-oom

local clock_key = KEYS[1]
local _ = tonumber(ARGV[1])
local hold_ms = tonumber(ARGV[2])

local removed = 0

local sequence = redis.call('HINCRBY', clock_key, 's', 1)
local hold = string.format('H%012d', sequence)
for i = 1, (#KEYS - 1) / 2 do
  local holder, left_ms = redis.call('GET', KEYS[2 * i + 1]), hold_ms
  if holder and string.sub(holder, 1, 1) == 'H' then
    left_ms = math.max(hold_ms, redis.call('PTTL', KEYS[2 * i + 1]))
  end
  removed = removed + redis.call('UNLINK', KEYS[2 * i])
  if left_ms > 0 then
    redis.call('SET', KEYS[2 * i + 1], hold, 'PX', left_ms)
  else
    redis.call('DEL', KEYS[2 * i + 1])
  end
end
return {sequence, removed}
