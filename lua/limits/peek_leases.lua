-- limits/peek_leases.lua: return what a lease of one key would find; nothing is changed.
--
-- KEYS[1]  leases      sorted set; id -> end in ms, of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  units       integer 1..1000; how many permits there are
-- ARGV[3]  window_ms   integer 1000..2^35; how long a lease lasts
-- returns  {foreign values, leases that end too far ahead, would be refused 1 or 0, retry_after_ms, remaining,
--          reset_after_ms}
-- expires  nothing is written
-- cost     O(log leases), 5 commands
-- idempotent yes
-- flags    no-writes
-- twin     limits/algorithms/concurrency.py: peek
--#include lib/now.lua
--#include lib/lease_status.lua
--#include lib/lease_decision.lua

local leases = KEYS[1]
local now_ms, units, window_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[2]), tonumber(ARGV[3])

local last_end_ms = now_ms + window_ms + 60000
local live, too_far_ahead, last_ms, foreign = lease_status(leases, now_ms, last_end_ms)

local refused, retry_after_ms = lease_decision(leases, live, units, now_ms, last_end_ms)

return {foreign, too_far_ahead, refused, retry_after_ms, math.max(units - live, 0), last_ms - now_ms}
