-- lib/replace_secret.lua: replace the secret of a session; the former one opens nothing from then on, and no grace is left.
--
-- Include lib/keep_memo.lua first.
local function replace_secret(session, now_ms, record, memo, successor)
  local renew_ms = session.renew_at_ms and redis.call('HGET', record, 'n')
  redis.call('HSET', record, 'h', successor)
  redis.call('HDEL', record, 'hp', 'hpx')
  keep_memo(session, now_ms, memo, 'h', successor)
  redis.call('HDEL', memo, 'hp')
  if renew_ms then redis.call('HSET', record, 'ra', now_ms + renew_ms) end
end
