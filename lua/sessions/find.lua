-- sessions/find.lua: return the sids of a user's sessions that have not expired; some may be over. Changes nothing.
--
-- KEYS[1]  index       sorted set; sid -> end in ms, of the user's sessions
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- returns  {sid, ...}, the next to end first; at most as many as the highest cap, because creations keep an index so
-- expires  nothing is written
-- cost     O(sessions), 1 command
-- idempotent yes
-- flags    no-writes
--#include lib/now.lua

local index = KEYS[1]
local now_ms = clock(tonumber(ARGV[1]))

local sids = redis.call('ZRANGEBYSCORE', index, now_ms + 1, '+inf')

return sids
