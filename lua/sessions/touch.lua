-- sessions/touch.lua: record that a session was used, or remove it if it is over; one that is gone does not come back.
--
-- It decides anew, by its own time: a session that was revoked since it was verified is removed, and a second run finds
-- nothing more to do. The grace of a former secret begins when that its successor was presented is recorded. A touch is
-- no event, nor is the removal of what an event told of already; an end by time is one. It allows oom, or else a full
-- server would end every session with its idle time.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  index       sorted set; sid -> end in ms, of the user's sessions
-- KEYS[3]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[4]  all_users   hash; ep in ms, for all users
-- KEYS[5]  events      stream
-- KEYS[6]  memo        hash; what stays of the session for 24 hours after its end
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  sid         text, 26 characters
-- ARGV[3]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[4]  verifier    text, 48 hex digits; of the secret that was presented
-- ARGV[5]  passive     0 or 1; whether the request was no use of the session
-- returns  {1} it lives, {0} it is over, locked or gone
-- expires  record, memo, index, epoch: as create, if the use is recorded; events 30 days
-- cost     O(log sessions), 13 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua
--#include lib/over_because.lua
--#include lib/touch_session.lua
--#include lib/lengthen.lua
--#include lib/keep_until.lua
--#include lib/record_use.lua
--#include lib/end_session.lua
--#include lib/write_event.lua

local record, index, epoch, all_users, events, memo = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now_ms = clock(tonumber(ARGV[1]))
local sid, digest, verifier, passive = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local session = read_session(record, digest)
if not session then return {0} end

local state = session_state(session, now_ms, epoch, all_users)
local first = session.renew_at_ms == 0 and verifier == session.verifier
local ages = first and redis.call('HMGET', record, 'n', 'hpx')

if state == 10 then return {0} end
if state ~= 1 then
  local why, at_ms = over_because(session, now_ms, epoch, all_users)
  end_session(record, index, memo, sid, why, at_ms)
  if state == 3 then write_event(events, now_ms, 'expired', session.user, sid) end
  return {0}
end
if passive == 0 and touch_session(session, now_ms) == 1 then
  record_use(session, now_ms, record, index, epoch, memo, sid)
end
if first then redis.call('HSET', record, 'ra', now_ms + ages[1], 'hpx', now_ms - ages[2]) end
return {1}
