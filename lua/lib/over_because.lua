-- lib/over_because.lua: return why a session whose record is still there is over or locked, and since when in ms.
local function over_because(session, now_ms, epoch, all_users)
  local own = redis.call('HMGET', epoch, 'ep', 'dis')
  local global_epoch = redis.call('HGET', all_users, 'ep')
  local ended = own[1] ~= session.began and own[1] or global_epoch
  local at_ms = math.min(tonumber(ended or now_ms), now_ms)
  if own[2] == '1' then return 'disabled', at_ms end
  if own[1] ~= session.began then return 'revoked-all', at_ms end
  if global_epoch ~= session.global_began then return 'everyone', at_ms end
  if now_ms >= session.absolute_end_ms and (session.locks or session.idle_end_ms == session.absolute_end_ms) then
    return 'expired', session.absolute_end_ms
  end
  return session.locks and 'locked' or 'idle', session.idle_end_ms
end
