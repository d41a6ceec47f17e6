-- accounts/note_costs.lua: note what the hashes of accounts cost, and return every cost that was noted lately.
--
-- A wrong password is compared with a hash of each, so that its time tells nothing about the account. Beyond `most`,
-- those that were noted last stay.
--
-- KEYS[1]  noted        sorted set; costs by the time when they were noted last
-- ARGV[1]  now_ms       integer; 0 means the server's clock
-- ARGV[2]  lifetime_ms  integer >= 1000; how long a cost counts that is not noted again
-- ARGV[3]  most         integer 1..16; how many costs there may be
-- ARGV[4..] costs       integers; memory in KiB * 1000 + passes * 10 + threads of each hash that was met
-- returns  {cost_1, cost_2, ...}
-- expires  the costs, lifetime_ms after the call
-- cost     O(costs), 4 commands and one for each cost that was met
-- idempotent yes
-- flags    none
--#include lib/now.lua

local noted = KEYS[1]
local now_ms, lifetime_ms, most = clock(tonumber(ARGV[1])), tonumber(ARGV[2]), tonumber(ARGV[3])

for i = 4, #ARGV do redis.call('ZADD', noted, now_ms, ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', noted, '-inf', now_ms - lifetime_ms)
redis.call('ZREMRANGEBYRANK', noted, 0, -most - 1)
redis.call('PEXPIRE', noted, lifetime_ms)

local costs = redis.call('ZRANGE', noted, 0, -1)
for i = 1, #costs do costs[i] = tonumber(costs[i]) end
return costs
