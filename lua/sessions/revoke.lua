-- sessions/revoke.lua: end one session of its owner; for anyone else, and for one that is gone, nothing is written.
--
-- A second run leaves the same state; that it finds nothing says the same: the session is over.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  index       sorted set; the owner's sessions
-- KEYS[3]  events      stream
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  sid         text, 26 characters
-- ARGV[3]  user        text; who must own the session
-- returns  {found 0 or 1}
-- expires  events 30 days
-- cost     O(log sessions), 5 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/end_session.lua
--#include lib/write_event.lua

local record, index, events = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local sid, user = ARGV[2], ARGV[3]

local owner = redis.call('HGET', record, 'u')

if owner ~= user then return {0} end

end_session(record, index, sid)
write_event(events, now_ms, 'revoked', user, sid)
return {1}
