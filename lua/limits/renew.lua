-- limits/renew.lua: extend a lease to a window from now; if it is over or unknown, nothing is written.
--
-- KEYS[1]  leases      sorted set; id -> end in ms, of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  id          text, 32 hex digits
-- ARGV[3]  window_ms   integer 1000..2^35; how long the lease lasts from now
-- returns  {1 renewed | 0 over}
-- expires  leases with the last of them
-- cost     O(log leases), 2..5 commands
-- idempotent yes
-- flags    allow-oom
-- twin     limits/algorithms/concurrency.py: renew
--#include lib/now.lua
--#include lib/lengthen.lua
--#include lib/lease_end.lua

local leases, id = KEYS[1], ARGV[2]
local now_ms, window_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[3])

local end_ms = lease_end(leases, id)

if end_ms <= now_ms then return {0} end

redis.call('ZADD', leases, now_ms + window_ms, id)
lengthen(leases, window_ms)
return {1}
