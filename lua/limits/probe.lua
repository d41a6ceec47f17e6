-- limits/probe.lua: write a key that expires soon, by the commands that takes need; or fail as they would.
--
-- KEYS[1]  probe        string; empty
-- ARGV[1]  now_ms       integer; unused, its expiry is relative
-- ARGV[2]  lifetime_ms  integer 1000..60000
-- returns  {1}
-- expires  the probe, lifetime_ms after the call
-- cost     O(1), 3 commands
-- idempotent yes
-- flags    allow-oom

local probe = KEYS[1]
local _ = tonumber(ARGV[1])
local lifetime_ms = tonumber(ARGV[2])

redis.call('SET', probe, '', 'PX', lifetime_ms)
redis.call('MGET', probe)
redis.call('SETRANGE', probe, 0, '')
return {1}
