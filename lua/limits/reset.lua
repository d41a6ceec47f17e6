-- limits/reset.lua: delete the counters of one key and policy, and announce it; if there are none, nothing is written.
--
-- KEYS[1]  state       string; every window of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  channel     text; gets the time in ms, negative for a reset, and the name of the key
-- returns  {1 if there were counters, else 0}
-- expires  nothing is written
-- cost     O(1), 2 commands
-- idempotent no
-- flags    allow-oom
--#include lib/now.lua
--#include lib/announce.lua

local state, channel = KEYS[1], ARGV[2]
local now_ms = clock(tonumber(ARGV[1]))

local deleted = redis.call('DEL', state)

if deleted == 1 then announce(channel, -now_ms, state) end
return {deleted}
