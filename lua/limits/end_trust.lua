-- limits/end_trust.lua: trust no device any more that was issued to an account until now.
--
-- KEYS[1]  ended       string; the time, in ms
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  kept_ms     integer >= 1; how long a device is trusted
-- returns  {now_ms}
-- expires  ended after kept_ms, when all of those devices are too old
-- cost     O(1), 1 command
-- idempotent yes
-- flags    none
--#include lib/now.lua

local ended = KEYS[1]
local now_ms, kept_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[2])

redis.call('SET', ended, now_ms, 'PX', kept_ms)
return {now_ms}
