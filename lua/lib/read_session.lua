-- lib/read_session.lua: return the fields of a session's record; nil if there is none, or if it is not of this user.
local function read_session(record, digest)
  local found = redis.call('HMGET', record, 'd', 'h', 'u', 'p', 'dv', 'c', 'l', 'x', 'w', 'e', 'ge', 'ra', 'au', 'lk')
  if found[1] ~= digest then return nil end
  local last_seen_ms, absolute_end_ms, idle_ms = tonumber(found[7]), tonumber(found[8]), tonumber(found[9])
  return {
    verifier = found[2], user = found[3], policy = found[4], device = found[5], created_ms = tonumber(found[6]),
    last_seen_ms = last_seen_ms, absolute_end_ms = absolute_end_ms, idle_ms = idle_ms,
    idle_end_ms = math.min(last_seen_ms + idle_ms, absolute_end_ms), began = found[10], global_began = found[11],
    renew_at_ms = found[12] and tonumber(found[12]), authentication = found[13], locks = found[14] == '1',
  }
end
