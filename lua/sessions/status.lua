-- sessions/status.lua: return whether a user is disabled under one secret, and since when; changes nothing.
--
-- KEYS[1]  epoch       hash; dis = 1 while the user is disabled, since = the time of the last disable or enable
-- ARGV[1]  now_ms      integer; unused, the status is the same at any time
-- returns  {disabled 0 or 1, since_ms or 0}
-- expires  nothing is written
-- cost     O(1), 1 command
-- idempotent yes
-- flags    no-writes

local epoch = KEYS[1]
local _ = tonumber(ARGV[1])

local found = redis.call('HMGET', epoch, 'dis', 'since')

return {tonumber(found[1] or 0), tonumber(found[2] or 0)}
