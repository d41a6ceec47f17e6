-- lib/write_event.lua: add one event of a session; about 10000 of a shard are kept, until 30 days after the last.
--
-- That of an impersonation also has the actor, who acts as the user, and the reason.
local function write_event(events, now_ms, kind, user, sid, actor, reason)
  local acting = actor and {'actor', actor, 'reason', reason} or {}
  redis.call('XADD', events, 'MAXLEN', '~', 10000, '*', 'at', now_ms, 'kind', kind, 'user', user, 'sid', sid,
    unpack(acting))
  redis.call('PEXPIRE', events, 2592000000)
end
