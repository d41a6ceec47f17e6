-- limits/shorten_leases.lua: let leases that end too far ahead end in a window and a minute; the others stay as is.
--
-- They were written before the clock stepped back. A holder that lives renews its lease long before the new end, and
-- the permit of one that crashed is not kept until the clock has caught up.
--
-- KEYS[1]  leases      sorted set; id -> end in ms, of one subject and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  window_ms   integer 1000..2^35; how long a lease lasts
-- returns  {how many were shortened}
-- expires  leases in a window and a minute, where any was shortened
-- cost     O(shortened * log leases), 3 + shortened commands
-- idempotent yes
-- flags    allow-oom
-- twin     limits/algorithms/concurrency.py: clamp
--#include lib/now.lua
--#include lib/leases_held.lua

local leases = KEYS[1]
local now_ms, window_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[2])

local far_ms = now_ms + window_ms + 60000
local _, far = leases_held(leases, now_ms, far_ms)

if far == 0 then return {0} end

for _, id in ipairs(redis.call('ZRANGE', leases, -far, -1)) do redis.call('ZADD', leases, far_ms, id) end
redis.call('PEXPIRE', leases, window_ms + 60000)
return {far}
