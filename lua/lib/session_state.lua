-- lib/session_state.lua: return a session's fields, its state (1 live, 3 expired, 4 revoked), and if a touch is due; or nil.
local function session_state(now_ms, record, all_users, epochs)
  local found = redis.call('HMGET', record, 'h', 'u', 'd', 'p', 'dv', 'c', 'l', 'x', 'w', 'e', 'ge')
  if not found[1] then return nil end
  local own = redis.call('HMGET', epochs .. found[3], 'ep', 'dis')
  local user_epoch, disabled = tonumber(own[1] or 0), tonumber(own[2] or 0)
  local global_epoch = tonumber(redis.call('HGET', all_users, 'ep') or 0)
  local last_seen_ms, absolute_end_ms, idle_ms = tonumber(found[7]), tonumber(found[8]), tonumber(found[9])
  local began = tonumber(found[10])

  local revoked = disabled == 1 or began < user_epoch or tonumber(found[11]) < global_epoch
  local expired = now_ms >= math.min(last_seen_ms + idle_ms, absolute_end_ms)
  local due = now_ms - last_seen_ms >= math.min(60000, idle_ms / 20)
  if due then last_seen_ms = now_ms end
  return {
    state = revoked and 4 or expired and 3 or 1, due = due and 1 or 0, verifier = found[1], user = found[2],
    digest = found[3], policy = found[4], device = found[5], created_ms = tonumber(found[6]), last_seen_ms = last_seen_ms,
    absolute_end_ms = absolute_end_ms, idle_end_ms = math.min(last_seen_ms + idle_ms, absolute_end_ms), began = began,
  }
end
