-- cache/invalidate.lua: remove entries together with the leases of loads in progress, whose fills are then refused.
--
-- KEYS[1]  clock_key   hash; s sequence
-- KEYS[2i..2i+1]       strings; entry and lease of the i-th key
-- ARGV[1]  now_ms      integer; unused here
-- returns  {sequence, entries that existed}
-- expires  nothing is written but the sequence of the clock, which stays
-- cost     O(keys), 1 + 2 * keys commands
-- idempotent yes
-- flags    allow-oom

local clock_key = KEYS[1]

local removed = 0

local sequence = redis.call('HINCRBY', clock_key, 's', 1)
for i = 1, (#KEYS - 1) / 2 do
  removed = removed + redis.call('UNLINK', KEYS[2 * i])
  redis.call('DEL', KEYS[2 * i + 1])
end
return {sequence, removed}
