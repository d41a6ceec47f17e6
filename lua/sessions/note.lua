-- sessions/note.lua: add an event about the account of a user, which ends no session; none is added a second time.
--
-- KEYS[1]  epoch       hash; the user's, of which the last note is the field note
-- KEYS[2]  events      stream
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  user        text, 1..256 characters
-- ARGV[3]  call        text, 26 characters; names this call
-- ARGV[4]  kind        text, 1..32 characters; the kind of the event
-- ARGV[5]  life_ms     integer; how long the name of the call is kept at least
-- ARGV[6]  sid         text; the session in which it happened, or empty
-- returns  {added 0 or 1}
-- expires  epoch life_ms after the call or later, not while the user is disabled; events 30 days
-- cost     O(1), 7 commands
-- idempotent yes
-- flags    none
--#include lib/now.lua
--#include lib/lengthen.lua
--#include lib/write_event.lua

local epoch, events = KEYS[1], KEYS[2]
local now_ms, life_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[5])
local user, call, kind, sid = ARGV[2], ARGV[3], ARGV[4], ARGV[6]

local found = redis.call('HMGET', epoch, 'note', 'dis')

if found[1] == call then return {0} end

redis.call('HSET', epoch, 'note', call)
if found[2] ~= '1' then lengthen(epoch, life_ms) end
write_event(events, now_ms, kind, user, sid)
return {1}
