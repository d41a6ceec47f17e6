-- cache/invalidate.lua: remove entries together with the leases and permits of loads in progress, which are then refused.
--
-- A hold takes the place of a lease: until it ends loads are not stored, because what they read may lag behind.
-- It has a name of its own, so that a load under an earlier one is refused. One that ends later keeps its end. A hold
-- that is evicted, or lost in a failover, ends early.
--
-- KEYS[1]  clock_key   hash; s sequence
-- KEYS[3i-1..3i+1]     strings; entry, lease and permit of the i-th key
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
for i = 1, (#KEYS - 1) / 3 do
  local entry, lease, permit = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  local holder, left_ms = redis.call('GET', lease), hold_ms
  if holder and string.sub(holder, 1, 1) == 'H' then left_ms = math.max(hold_ms, redis.call('PTTL', lease)) end
  removed = removed + redis.call('UNLINK', entry)
  if left_ms > 0 then
    redis.call('SET', lease, hold, 'PX', left_ms)
    redis.call('DEL', permit)
  else
    redis.call('DEL', lease, permit)
  end
end
return {sequence, removed}
