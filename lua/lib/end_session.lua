-- lib/end_session.lua: remove the record of a session and its entry in the index; return 1 if there was a record.
local function end_session(record, index, sid)
  redis.call('ZREM', index, sid)
  return redis.call('DEL', record)
end
