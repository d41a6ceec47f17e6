-- lib/session_reply.lua: return the reply that a session is in a state, 1 live or 10 locked, with its fields.
local function session_reply(session, state, touch_due, renewal_due)
  return {
    state, session.created_ms, session.last_seen_ms, session.absolute_end_ms, session.idle_end_ms, tonumber(session.began),
    tonumber(session.global_began), touch_due, renewal_due, session.user, session.policy, session.device,
    session.authentication,
  }
end
