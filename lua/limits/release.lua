-- limits/release.lua: end a lease before it expires; if it is over or unknown, nothing is written.
--
-- A second run leaves the same state, and its reply means the same: the permit is not held.
--
-- KEYS[1]  leases      sorted set; id -> end in ms, of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  id          text, 32 hex digits
-- returns  {1 released | 0 over}
-- expires  nothing is written
-- cost     O(log leases), 2..3 commands
-- idempotent yes
-- flags    allow-oom
-- twin     limits/algorithms/concurrency.py: release
--#include lib/now.lua
--#include lib/lease_end.lua

local leases, id = KEYS[1], ARGV[2]
local now_ms = clock(tonumber(ARGV[1]))

local end_ms = lease_end(leases, id)

if end_ms <= now_ms then return {0} end

return {redis.call('ZREM', leases, id)}
