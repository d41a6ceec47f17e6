-- cache/stats.lua: return the counts that lookups left in the clock, the keys in its database, and the sums of families.
--
-- KEYS[1]  clock_key   hash; s sequence, n:<cause> counts
-- KEYS[2]  sums        hash; as cache/add_counts.lua writes it
-- ARGV[1]  now_ms      integer; unused here
-- returns  {keys, sequence, hits, absent, invalidated, epoch, unusable, family_1, numbers_1, ...}; absent to unusable
--          are misses by cause
-- expires  nothing is written
-- cost     O(families), 3 commands
-- idempotent yes
-- flags    no-writes

local clock_key, sums = KEYS[1], KEYS[2]

local keys = redis.call('DBSIZE')
local counts = redis.call('HMGET', clock_key, 's', 'n:hit', 'n:absent', 'n:invalidated', 'n:epoch', 'n:unusable')
local families = redis.call('HGETALL', sums)

local reply = {keys}
for i = 1, #counts do reply[1 + i] = tonumber(counts[i] or 0) end
for i = 1, #families do reply[7 + i] = families[i] end

return reply
