-- sessions/list.lua: return those of a user's sessions that live; a disabled user has none. Changes nothing.
--
-- The records are those of the sids that sessions/find returned: one that ended since then is left out.
--
-- KEYS[1]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[2]  all_users   hash; ep in ms, for all users
-- KEYS[i+2] record     hash; a session
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  digest      text, 32 hex digits; stands for the user in key names
-- returns  {i, created_ms, last_seen_ms, absolute_end_ms, idle_end_ms, locked 0 or 1, policy, device, login, ...}, nine per
--          session; login is as create has it, behind its time in ms
-- expires  nothing is written
-- cost     O(records), 3 * records commands
-- idempotent yes
-- flags    no-writes
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua

local epoch, all_users = KEYS[1], KEYS[2]
local now_ms = clock(tonumber(ARGV[1]))
local digest = ARGV[2]

local reply = {}
for i = 1, #KEYS - 2 do
  local session = read_session(KEYS[i + 2], digest)
  local state = session and session_state(session, now_ms, epoch, all_users)
  if state == 1 or state == 10 then
    for _, value in ipairs({
      i, session.created_ms, session.last_seen_ms, session.absolute_end_ms, session.idle_end_ms, state == 10 and 1 or 0,
      session.policy, session.device, session.authentication,
    }) do reply[#reply + 1] = value end
  end
end
return reply
