-- lib/live_sessions.lua: return the sids of an index that live by time, record and epochs, the next to end first; and others.
local function live_sessions(now_ms, index, records, user_epoch, global_epoch)
  local live, over = {}, {}
  for _, sid in ipairs(redis.call('ZRANGEBYSCORE', index, now_ms + 1, '+inf')) do
    local began = redis.call('HMGET', records .. sid, 'e', 'ge')
    local lives = tonumber(began[1] or -1) == user_epoch and tonumber(began[2] or -1) == global_epoch
    table.insert(lives and live or over, sid)
  end
  return live, over
end
