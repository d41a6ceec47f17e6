-- lib/write_event.lua: add one event of a session; about 10000 of a shard are kept, until 30 days after the last.
local function write_event(events, now_ms, kind, user, sid)
  redis.call('XADD', events, 'MAXLEN', '~', 10000, '*', 'at', now_ms, 'kind', kind, 'user', user, 'sid', sid)
  redis.call('PEXPIRE', events, 2592000000)
end
