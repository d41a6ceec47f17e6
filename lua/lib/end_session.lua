-- lib/end_session.lua: remove a session's record and its entry in the index, note why in its memo; return 1 if there was a record.
--
-- The memo lives for 24 hours from then. It has no data, and no script that opens a session reads it.
local function end_session(record, index, memo, sid, why, at_ms)
  redis.call('ZREM', index, sid)
  if redis.call('DEL', record) == 0 then return 0 end
  redis.call('HSET', memo, 'why', why, 'at', at_ms)
  redis.call('PEXPIRE', memo, 86400000)
  return 1
end
