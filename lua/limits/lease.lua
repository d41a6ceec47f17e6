-- limits/lease.lua: grant one of a key's permits to a lease; if none is free, nothing is written.
--
-- A lease that is not renewed expires, so a holder that crashed keeps no permit. A lease that ends more than a window
-- and a minute from now was written before the clock stepped back: it counts, and the reply says how many there are.
-- A second run finds its own lease and replies the same.
--
-- KEYS[1]  leases      sorted set; id -> end in ms, of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  id          text, 32 hex digits
-- ARGV[3]  units       integer 1..1000; how many permits there are
-- ARGV[4]  window_ms   integer 1000..2^35; how long a lease lasts
-- returns  {foreign values, leases that end too far ahead, refused 1 or 0, retry_after_ms, remaining, reset_after_ms}
-- expires  leases with the last of them
-- cost     O(log leases) and those that expired, 11 commands
-- idempotent yes
-- flags    allow-oom
-- twin     limits/algorithms/concurrency.py: lease
--#include lib/now.lua
--#include lib/lengthen.lua
--#include lib/lease_end.lua
--#include lib/lease_status.lua
--#include lib/lease_decision.lua

local leases, id = KEYS[1], ARGV[2]
local now_ms, units, window_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[3]), tonumber(ARGV[4])

local last_end_ms, end_ms = now_ms + window_ms + 60000, now_ms + window_ms
local live, too_far_ahead, last_ms, foreign = lease_status(leases, now_ms, last_end_ms)
if lease_end(leases, id) > now_ms then live = live - 1 end

local refused, retry_after_ms = lease_decision(leases, live, units, now_ms, last_end_ms)
if refused == 1 then return {foreign, too_far_ahead, 1, retry_after_ms, 0, last_ms - now_ms} end

if foreign == 1 then redis.call('DEL', leases) end
redis.call('ZREMRANGEBYSCORE', leases, '-inf', now_ms)
redis.call('ZADD', leases, end_ms, id)
lengthen(leases, window_ms)
return {foreign, too_far_ahead, 0, 0, units - live - 1, math.max(last_ms, end_ms) - now_ms}
