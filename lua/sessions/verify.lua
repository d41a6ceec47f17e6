-- sessions/verify.lua: return the session that a secret opens, as its touch will leave it; changes nothing.
--
-- A primary that may not write, for want of a replica, memory or disk, runs no script that could: it runs this one, and
-- logs no user out. What is to be written is left to sessions/touch: the use of a live session if `due` is 1, at most
-- once in min(60 s, idle / 20), and the removal of one that is over. Times are those after that touch. After the clock
-- stepped back none is due until it is past the last touch, so no session lives longer.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  all_users   hash; ep in ms, for all users
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  verifier    text, 48 hex digits
-- ARGV[3]  epochs      text; an epoch's name without the user's digest
-- returns  {1, created_ms, last_seen_ms, absolute_end_ms, idle_end_ms, the user's epoch that it began in, due 0 or 1,
--           user, policy, device},
--          {0} unknown, {2} another secret, {3} expired, {4} revoked
-- expires  nothing is written
-- touches  epoch of the digest in the record's field d
-- cost     O(1), 3 commands
-- idempotent yes
-- flags    no-writes
--#include lib/now.lua
--#include lib/session_state.lua

local record, all_users = KEYS[1], KEYS[2]
local now_ms = clock(tonumber(ARGV[1]))
local verifier, epochs = ARGV[2], ARGV[3]

local found = session_state(now_ms, record, all_users, epochs)

if not found then return {0} end
if found.verifier ~= verifier then return {2} end
if found.state ~= 1 then return {found.state} end

return {
  1, found.created_ms, found.last_seen_ms, found.absolute_end_ms, found.idle_end_ms, found.began, found.due,
  found.user, found.policy, found.device,
}
