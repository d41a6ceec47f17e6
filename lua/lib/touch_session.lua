-- lib/touch_session.lua: set the times of a session whose use is to be recorded, each min(60 s, idle / 20); return 1, else 0.
local function touch_session(session, now_ms)
  if now_ms - session.last_seen_ms < math.min(60000, session.idle_ms / 20) then return 0 end
  session.last_seen_ms = now_ms
  session.idle_end_ms = math.min(now_ms + session.idle_ms, session.absolute_end_ms)
  return 1
end
