-- lib/record_use.lua: write the times that lib/touch_session.lua set; include lib/lengthen.lua and lib/keep_until.lua first.
local function record_use(session, now_ms, record, index, epoch, memo, sid)
  redis.call('HSET', record, 'l', session.last_seen_ms)
  keep_until(session.locks and session.absolute_end_ms or session.idle_end_ms, now_ms, record, index, memo, sid)
  lengthen(epoch, session.absolute_end_ms - now_ms)
end
