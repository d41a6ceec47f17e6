-- lib/session_state.lua: return the state of a session: 1 live, 3 expired, 4 revoked, 10 locked. It lives in the epochs it began in.
--
-- One that its policy locks when it is idle can be opened again by a step-up, until its absolute end.
local function session_state(session, now_ms, epoch, all_users)
  local own = redis.call('HMGET', epoch, 'ep', 'dis')
  local global_epoch = redis.call('HGET', all_users, 'ep')
  if own[2] == '1' or own[1] ~= session.began or global_epoch ~= session.global_began then return 4 end
  if now_ms < session.idle_end_ms then return 1 end
  return session.locks and now_ms < session.absolute_end_ms and 10 or 3
end
