-- lib/keep_memo.lua: note the secret of a live session in its memo, which stays for 24 hours after the session's end.
local function keep_memo(session, now_ms, memo, ...)
  local end_ms = session.locks and session.absolute_end_ms or session.idle_end_ms
  redis.call('HSET', memo, ...)
  redis.call('PEXPIRE', memo, end_ms - now_ms + 86400000)
end
