-- cache/stats.lua: return the counts that lookups left in the clock, and the number of keys in its database.
--
-- KEYS[1]  clock_key   hash; s sequence, n:<cause> counts
-- ARGV[1]  now_ms      integer; unused here
-- returns  {keys, sequence, hits, absent, invalidated, epoch, unusable}; the last four are misses by cause
-- expires  nothing is written
-- cost     O(1), 2 commands
-- idempotent yes
-- flags    no-writes

local clock_key = KEYS[1]

local keys = redis.call('DBSIZE')
local counts = redis.call('HMGET', clock_key, 's', 'n:hit', 'n:absent', 'n:invalidated', 'n:epoch', 'n:unusable')

local reply = {keys}
for i = 1, #counts do reply[1 + i] = tonumber(counts[i] or 0) end

return reply
