-- limits/reset.lua: forget what one subject took under one policy, and tell all who listen; nothing stays nothing.
--
-- KEYS[1]  state       string; every window of one subject and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  channel     text; where it is announced, behind the time in ms: the name of the key
-- returns  {1 where something was forgotten, else 0}
-- expires  nothing is written
-- cost     O(1), 2 commands
-- idempotent no
-- flags    allow-oom
--#include lib/now.lua
--#include lib/announce.lua

local state, channel = KEYS[1], ARGV[2]
local now_ms = clock(tonumber(ARGV[1]))

local forgotten = redis.call('DEL', state)

if forgotten == 1 then announce(channel, now_ms, state) end
return {forgotten}
