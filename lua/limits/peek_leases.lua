-- limits/peek_leases.lua: tell what a lease of one subject would find, and change nothing.
--
-- KEYS[1]  leases      sorted set; id -> end in ms, of one subject and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  units       integer 1..1000; how many permits there are
-- ARGV[3]  window_ms   integer 1000..2^35; how long a lease lasts
-- returns  {foreign values, leases that end too far ahead, 1 would be refused or 0, retry_after_ms, remaining,
--          reset_after_ms}
-- expires  nothing is written
-- cost     O(log leases), 5 commands
-- idempotent yes
-- flags    no-writes
-- twin     limits/algorithms/concurrency.py: peek
--#include lib/now.lua
--#include lib/leases_held.lua
--#include lib/lease_decision.lua

local leases = KEYS[1]
local now_ms, units, window_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[2]), tonumber(ARGV[3])

local far_ms = now_ms + window_ms + 60000
local held, far, last_ms, foreign = leases_held(leases, now_ms, far_ms)

local refused, retry_after_ms = lease_decision(leases, held, units, now_ms, far_ms)

return {foreign, far, refused, retry_after_ms, math.max(units - held, 0), last_ms - now_ms}
