-- lib/open_session.lua: return the session that a secret opens, 1 or 6 for its former secret, and its state; or nil and a reply.
--
-- That is one that lives, and if `locked` one that is locked, too. Include lib/read_session.lua and lib/session_state.lua
-- first. The former secret is good until its successor was presented, since a lost answer is no theft, and for its grace
-- from then: its end is below 0 until then.
local function open_session(record, epoch, all_users, now_ms, digest, verifier, locked)
  local session = read_session(record, digest)
  if not session then return nil, {0} end
  local secret = 1
  if verifier ~= session.verifier then
    local former = redis.call('HMGET', record, 'hp', 'hpx')
    if verifier ~= former[1] then return nil, {2} end
    local end_ms = tonumber(former[2])
    secret = (end_ms < 0 or now_ms <= end_ms) and 6 or 5
  end
  local state = session_state(session, now_ms, epoch, all_users)
  if state ~= 1 and not (locked and state == 10) then return nil, {state} end
  if secret == 5 then return nil, {5, session.user} end
  return session, secret, state
end
