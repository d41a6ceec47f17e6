-- lib/record_use.lua: write the times that lib/touch_session.lua set; include lib/lengthen.lua and lib/keep_until.lua first.
local function record_use(session, now_ms, record, index, epoch, sid)
  redis.call('HSET', record, 'l', session.last_seen_ms)
  keep_until(session.idle_end_ms, now_ms, record, index, sid)
  lengthen(epoch, session.absolute_end_ms - now_ms)
end
