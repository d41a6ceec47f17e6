-- lib/keep_until.lua: extend a session to end_ms, its record, score and index alike, and its memo to 24 hours after that.
--
-- Include lib/lengthen.lua first.
local function keep_until(end_ms, now_ms, record, index, memo, sid)
  redis.call('PEXPIRE', record, end_ms - now_ms)
  redis.call('PEXPIRE', memo, end_ms - now_ms + 86400000)
  redis.call('ZADD', index, end_ms, sid)
  lengthen(index, end_ms - now_ms)
end
