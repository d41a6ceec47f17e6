-- limits/clamp_leases.lua: shorten the leases that end too far ahead to a window and a minute; others are unchanged.
--
-- They were written before the clock stepped back. A live holder renews its lease long before the new end; the
-- permit of a crashed one would otherwise stay away until the clock has caught up.
--
-- KEYS[1]  leases      sorted set; id -> end in ms, of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  window_ms   integer 1000..2^35; how long a lease lasts
-- returns  {how many were shortened}
-- expires  leases in a window and a minute, if any was shortened
-- cost     O(shortened * log leases), 3 + shortened commands
-- idempotent yes
-- flags    allow-oom
-- twin     limits/algorithms/concurrency.py: clamp
--#include lib/now.lua
--#include lib/lease_status.lua

local leases = KEYS[1]
local now_ms, window_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[2])

local last_end_ms = now_ms + window_ms + 60000
local _, too_far_ahead = lease_status(leases, now_ms, last_end_ms)

if too_far_ahead == 0 then return {0} end

for _, id in ipairs(redis.call('ZRANGE', leases, -too_far_ahead, -1)) do redis.call('ZADD', leases, last_end_ms, id) end
redis.call('PEXPIRE', leases, window_ms + 60000)
return {too_far_ahead}
