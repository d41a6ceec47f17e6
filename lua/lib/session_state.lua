-- lib/session_state.lua: return the state of a session, 1 live, 3 expired or 4 revoked: it lives in the epochs it began in.
local function session_state(session, now_ms, epoch, all_users)
  local own = redis.call('HMGET', epoch, 'ep', 'dis')
  local global_epoch = redis.call('HGET', all_users, 'ep')
  if own[2] == '1' or own[1] ~= session.began or global_epoch ~= session.global_began then return 4 end
  return now_ms >= session.idle_end_ms and 3 or 1
end
