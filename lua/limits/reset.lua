-- limits/reset.lua: forget what one subject took under one policy; where there is nothing, nothing happens.
--
-- KEYS[1]  state       string; every window of one subject and policy
-- ARGV[1]  now_ms      integer; unused here
-- returns  {1 where something was forgotten, else 0}
-- expires  nothing is written
-- cost     O(1), 1 command
-- idempotent no
-- flags    allow-oom

local state = KEYS[1]

return {redis.call('DEL', state)}
