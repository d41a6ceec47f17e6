-- sessions/revoke.lua: end one session of its owner; if it is gone or another user's, nothing is written.
--
-- A second run leaves the same state, and its reply means the same: the session is over. On a new primary that lost the
-- revocation, a repeated run ends the session there, and announces it again.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  index       sorted set; the owner's sessions
-- KEYS[3]  events      stream
-- KEYS[4]  memo        hash; what stays of the session for 24 hours after its end
-- KEYS[5]  epoch       hash; acts = notes of the impersonations that sessions of the owner began
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  sid         text, 26 characters
-- ARGV[3]  user        text; the user who must own the session
-- ARGV[4]  channel     text; the channel of revocations
-- ARGV[5]  notice      text; is announced after the time in ms
-- ARGV[6]  kind        text; the kind of its event, and why the session is over
-- returns  {found 0 or 1, notes of the impersonations that it began, as sessions/act writes them, or empty}
-- expires  memo 24 hours, events 30 days
-- cost     O(log sessions), 8 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/end_session.lua
--#include lib/write_event.lua
--#include lib/announce.lua
--#include lib/acts_begun.lua

local record, index, events, memo, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms = clock(tonumber(ARGV[1]))
local sid, user, channel, notice, kind = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local owner, acts = redis.call('HGET', record, 'u'), acts_begun(redis.call('HGET', epoch, 'acts'), sid, false)

if owner ~= user then return {0, acts} end

end_session(record, index, memo, sid, kind, now_ms)
write_event(events, now_ms, kind, user, sid)
announce(channel, now_ms, notice)
return {1, acts}
