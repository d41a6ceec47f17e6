-- lib/live_sessions.lua: return the sids of an index that live by time, record and epochs, the next to end first; and others.
--
-- Those that live are the user's own, or with `acting` the impersonations of the user: neither counts among the other.
local function live_sessions(now_ms, index, records, user_epoch, global_epoch, acting)
  local live, over = {}, {}
  for _, sid in ipairs(redis.call('ZRANGEBYSCORE', index, now_ms + 1, '+inf')) do
    local began = redis.call('HMGET', records .. sid, 'e', 'ge', 'im')
    local lives = tonumber(began[1] or -1) == user_epoch and tonumber(began[2] or -1) == global_epoch
    if not lives then table.insert(over, sid) elseif (began[3] == '1') == (acting or false) then table.insert(live, sid) end
  end
  return live, over
end
