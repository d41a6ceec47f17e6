-- lib/open_session.lua: return the session that a secret opens, 1 or 6 for its former secret, and its state; or nil and a reply.
--
-- That is one that lives, and if `locked` one that is locked, too. Include lib/read_session.lua, lib/secret_state.lua and
-- lib/session_state.lua first.
local function open_session(record, epoch, all_users, now_ms, digest, verifier, locked)
  local session = read_session(record, digest)
  if not session then return nil, {0} end
  local secret = secret_state(session, record, verifier, now_ms)
  if secret == 2 then return nil, {2} end
  local state = session_state(session, now_ms, epoch, all_users)
  if state ~= 1 and not (locked and state == 10) then return nil, {state} end
  if secret == 5 then return nil, {5, session.user} end
  return session, secret, state
end
