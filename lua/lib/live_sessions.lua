-- lib/live_sessions.lua: return the sids of an index that are live by time, record and epochs, the next to end first.
local function live_sessions(now_ms, index, records, user_epoch, global_epoch)
  local live = {}
  for _, sid in ipairs(redis.call('ZRANGEBYSCORE', index, now_ms + 1, '+inf')) do
    local began = redis.call('HMGET', records .. sid, 'e', 'ge')
    if tonumber(began[1] or -1) >= user_epoch and tonumber(began[2] or -1) >= global_epoch then
      live[#live + 1] = sid
    end
  end
  return live
end
