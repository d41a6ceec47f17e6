-- lib/begin_session.lua: write a new session: its record, its memo, its place in the index, and the epochs that it lives in.
--
-- `new` has sid, verifier, user, digest, idle_ms, absolute_ms, renew_ms, locks, login (what is known of it, behind its
-- time, login_ms, which is now if it is nil), and the epochs user_epoch and global_epoch; own_epoch and all_epoch are
-- those that are stored, nil if lost. An impersonation has actor, actor_sid and reason; its record says im = 1, and its
-- memo by whose session it began. `details` are more fields of the record, as pairs. Include lib/lengthen.lua,
-- lib/keep_until.lua and lib/write_event.lua first.
local function begin_session(record, index, epoch, all_users, events, memo, now_ms, new, details)
  local absolute_end_ms, idle_end_ms = now_ms + new.absolute_ms, now_ms + new.idle_ms
  if not new.own_epoch then redis.call('HSET', epoch, 'ep', new.user_epoch) end
  if not new.all_epoch then redis.call('HSET', all_users, 'ep', new.global_epoch) end
  lengthen(epoch, new.absolute_ms)
  redis.call('HSET', record, 'h', new.verifier, 'u', new.user, 'd', new.digest, 'c', now_ms, 'l', now_ms,
    'x', absolute_end_ms, 'ax', new.absolute_ms, 'w', new.idle_ms, 'e', new.user_epoch, 'ge', new.global_epoch, 'g', 1,
    'au', (new.login_ms or now_ms) .. ' ' .. new.login, unpack(details))
  if new.renew_ms > 0 then redis.call('HSET', record, 'n', new.renew_ms, 'ra', now_ms + new.renew_ms) end
  if new.locks == 1 then redis.call('HSET', record, 'lk', 1) end
  redis.call('HSET', memo, 'h', new.verifier, 'd', new.digest, 'x', absolute_end_ms, 'ge', new.global_epoch)
  keep_until(new.locks == 1 and absolute_end_ms or idle_end_ms, now_ms, record, index, memo, new.sid)
  if new.actor then
    redis.call('HSET', record, 'im', 1)
    redis.call('HSET', memo, 'by', new.actor_sid)
  end
  write_event(events, now_ms, new.actor and 'impersonated' or 'created', new.user, new.sid, new.actor, new.reason)
  return {1, now_ms, absolute_end_ms, idle_end_ms}
end
