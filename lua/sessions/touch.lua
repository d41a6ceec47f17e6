-- sessions/touch.lua: record that a session was used, or remove it if it is over; one that is gone does not come back.
--
-- It decides anew, by its own time: a session that was revoked since it was verified is removed, and a second run finds
-- nothing more to do. A touch is no event, an end is one. It allows oom, or else a full server would end every session
-- with its idle time.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  all_users   hash; ep in ms, for all users
-- KEYS[3]  events      stream
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  sid         text, 26 characters
-- ARGV[3]  indexes     text; an index's name without the user's digest
-- ARGV[4]  epochs      text; an epoch's name without the user's digest
-- returns  {1} it lives, {0} it is over or gone
-- expires  record, index: as create, if the use is recorded; events 30 days
-- touches  index and epoch of the digest in the record's field d
-- cost     O(log sessions), 7 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/session_state.lua
--#include lib/lengthen.lua
--#include lib/keep_until.lua
--#include lib/end_session.lua
--#include lib/write_event.lua

local record, all_users, events = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local sid, indexes, epochs = ARGV[2], ARGV[3], ARGV[4]

local found = session_state(now_ms, record, all_users, epochs)
if not found then return {0} end
local index = indexes .. found.digest

if found.state ~= 1 then
  end_session(record, index, sid)
  write_event(events, now_ms, found.state == 4 and 'revoked' or 'expired', found.user, sid)
  return {0}
end
if found.due == 1 then
  redis.call('HSET', record, 'l', found.last_seen_ms)
  keep_until(found.idle_end_ms, now_ms, record, index, sid)
end
return {1}
