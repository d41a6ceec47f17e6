-- lib/keep_until.lua: extend a session to end_ms: its record, score and index alike; include lib/lengthen.lua first.
local function keep_until(end_ms, now_ms, record, index, sid)
  redis.call('PEXPIRE', record, end_ms - now_ms)
  redis.call('ZADD', index, end_ms, sid)
  lengthen(index, end_ms - now_ms)
end
