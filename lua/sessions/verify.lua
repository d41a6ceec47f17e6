-- sessions/verify.lua: return the session that a secret opens, as its touch will leave it; changes nothing.
--
-- A primary that may not write, for want of a replica, memory or disk, runs no script that could: it runs this one, and
-- logs no user out. What is to be written is left to sessions/touch: the use of a live session if `touch_due` is 1, at
-- most once in min(60 s, idle / 20), or that the successor of a secret was presented, and the removal of one that is over.
-- Times are those after that touch. After the clock stepped back none is due until it is past the last touch, so no
-- session lives longer.
--
-- A passive request does not prolong the session: nothing of it is to be recorded, and the times are as they are.
-- A digest that is not the one of the record, so not the one that the token was issued with, is answered before the
-- epoch that it names is read.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[3]  all_users   hash; ep in ms, for all users
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[3]  verifier    text, 48 hex digits
-- ARGV[4]  passive     0 or 1; whether the request is no use of the session
-- returns  {1, created_ms, last_seen_ms, absolute_end_ms, idle_end_ms, the user's epoch that it began in, that of all users,
--           touch_due 0 or 1, renewal_due 0 or 1, user, policy, device, login as create has it, behind its time in ms},
--          {0} unknown, {2} another secret, {3} expired, {4} revoked, {5, user} the former secret after its grace,
--          the same with 10 in place of 1 locked: it opens nothing, and nothing is due
-- expires  nothing is written
-- cost     O(1), 3 commands, and 1 for another secret
-- idempotent yes
-- flags    no-writes
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua
--#include lib/open_session.lua
--#include lib/touch_session.lua
--#include lib/renewal_due.lua
--#include lib/session_reply.lua

local record, epoch, all_users = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local digest, verifier, passive = ARGV[2], ARGV[3], tonumber(ARGV[4])

local session, found, state = open_session(record, epoch, all_users, now_ms, digest, verifier, true)
if not session then return found end
if state == 10 then return session_reply(session, 10, 0, 0) end
local touch_due = passive == 0 and touch_session(session, now_ms) or 0
if found == 1 and session.renew_at_ms == 0 then touch_due = 1 end

return session_reply(session, 1, touch_due, found == 6 and 1 or renewal_due(session, now_ms))
