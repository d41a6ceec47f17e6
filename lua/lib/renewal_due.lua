-- lib/renewal_due.lua: return 1 if a session's secret has come of age, if its policy says when, else 0; 0 until it is presented.
local function renewal_due(session, now_ms)
  local at_ms = session.renew_at_ms
  return at_ms and at_ms > 0 and now_ms >= at_ms and 1 or 0
end
