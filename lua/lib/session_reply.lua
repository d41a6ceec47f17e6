-- lib/session_reply.lua: return the reply that a session is live, with its fields.
local function session_reply(session, touch_due, renewal_due)
  return {
    1, session.created_ms, session.last_seen_ms, session.absolute_end_ms, session.idle_end_ms, tonumber(session.began),
    tonumber(session.global_began), touch_due, renewal_due, session.user, session.policy, session.device,
    session.authentication,
  }
end
