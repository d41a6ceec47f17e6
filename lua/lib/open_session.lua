-- lib/open_session.lua: return the live session that a secret opens and 1, or 6 for its former secret; or nil and a reply.
--
-- Include lib/read_session.lua, lib/secret_state.lua and lib/session_state.lua first.
local function open_session(record, epoch, all_users, now_ms, digest, verifier)
  local session = read_session(record, digest)
  if not session then return nil, {0} end
  local secret = secret_state(session, record, verifier, now_ms)
  if secret == 2 then return nil, {2} end
  local state = session_state(session, now_ms, epoch, all_users)
  if state ~= 1 then return nil, {state} end
  if secret == 5 then return nil, {5, session.user} end
  return session, secret
end
