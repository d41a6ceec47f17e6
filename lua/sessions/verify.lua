-- sessions/verify.lua: return the session that a secret opens, as its touch will leave it; changes nothing.
--
-- A primary that may not write, for want of a replica, memory or disk, runs no script that could: it runs this one, and
-- logs no user out. What is to be written is left to sessions/touch: the use of a live session if `due` is 1, at most
-- once in min(60 s, idle / 20), and the removal of one that is over. Times are those after that touch. After the clock
-- stepped back none is due until it is past the last touch, so no session lives longer.
--
-- A digest that is not the one of the record, so not the one that the token was issued with, is answered before the
-- epoch that it names is read.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[3]  all_users   hash; ep in ms, for all users
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[3]  verifier    text, 48 hex digits
-- returns  {1, created_ms, last_seen_ms, absolute_end_ms, idle_end_ms, the user's epoch that it began in, due 0 or 1,
--           user, policy, device},
--          {0} unknown, {2} another secret, {3} expired, {4} revoked
-- expires  nothing is written
-- cost     O(1), 3 commands
-- idempotent yes
-- flags    no-writes
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua
--#include lib/touch_session.lua

local record, epoch, all_users = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local digest, verifier = ARGV[2], ARGV[3]

local session = read_session(record, digest)
if not session then return {0} end
if session.verifier ~= verifier then return {2} end

local state = session_state(session, now_ms, epoch, all_users)
if state ~= 1 then return {state} end
local due = touch_session(session, now_ms)

return {
  1, session.created_ms, session.last_seen_ms, session.absolute_end_ms, session.idle_end_ms, tonumber(session.began),
  due, session.user, session.policy, session.device,
}
