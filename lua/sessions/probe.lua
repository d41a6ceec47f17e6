-- sessions/probe.lua: write a key that expires soon, as sessions are written; or fail as they would, and write nothing.
--
-- KEYS[1]  probe        string; empty, and read by none
-- ARGV[1]  now_ms       integer; unused, its expiry is relative
-- ARGV[2]  lifetime_ms  integer 1000..60000
-- returns  {1}
-- expires  the probe, lifetime_ms after the call
-- cost     O(1), 1 command
-- idempotent yes
-- flags    none

local probe = KEYS[1]
local _ = tonumber(ARGV[1])
local lifetime_ms = tonumber(ARGV[2])

redis.call('SET', probe, '', 'PX', lifetime_ms)
return {1}
