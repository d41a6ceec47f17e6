-- sessions/verify.lua: return the session that a secret opens, and touch it; one that is over is removed, none created.
--
-- A touch is written at most once in min(60 s, idle / 20) and is no event. After the clock stepped back nothing is
-- touched until it is past the last touch, so no session lives longer. A second run finds nothing more to do.
-- It allows oom because a full server must not log all users out.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  all_users   hash; ep in ms, for all users
-- KEYS[3]  events      stream
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  sid         text, 26 characters
-- ARGV[3]  verifier    text, 48 hex digits
-- ARGV[4]  indexes     text; an index's name without the user's digest
-- ARGV[5]  epochs      text; an epoch's name without the user's digest
-- returns  {1, created_ms, last_seen_ms, absolute_end_ms, idle_end_ms, the user's epoch that it began in,
--           user, policy, device},
--          {0} unknown, {2} another secret, {3} expired, {4} revoked
-- expires  record, index: as create, on a touch; events 30 days
-- touches  index and epoch of the digest in the record's field d
-- cost     O(log sessions), 3 commands, on a touch 7
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/lengthen.lua
--#include lib/keep_until.lua
--#include lib/end_session.lua
--#include lib/write_event.lua

local record, all_users, events = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local sid, verifier, indexes, epochs = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local found = redis.call('HMGET', record, 'h', 'u', 'd', 'p', 'dv', 'c', 'l', 'x', 'w', 'e', 'ge')
if not found[1] then return {0} end
if found[1] ~= verifier then return {2} end
local user, index, epoch, policy, device = found[2], indexes .. found[3], epochs .. found[3], found[4], found[5]
local created_ms, last_seen_ms, absolute_end_ms = tonumber(found[6]), tonumber(found[7]), tonumber(found[8])
local idle_ms, began, began_global = tonumber(found[9]), tonumber(found[10]), tonumber(found[11])
local own = redis.call('HMGET', epoch, 'ep', 'dis')
local user_epoch, disabled = tonumber(own[1] or 0), tonumber(own[2] or 0)
local global_epoch = tonumber(redis.call('HGET', all_users, 'ep') or 0)

local revoked = disabled == 1 or began < user_epoch or began_global < global_epoch
local expired = now_ms >= math.min(last_seen_ms + idle_ms, absolute_end_ms)
local touched = now_ms - last_seen_ms >= math.min(60000, idle_ms / 20)
if touched then last_seen_ms = now_ms end
local idle_end_ms = math.min(last_seen_ms + idle_ms, absolute_end_ms)

if revoked or expired then
  end_session(record, index, sid)
  write_event(events, now_ms, revoked and 'revoked' or 'expired', user, sid)
  return {revoked and 4 or 3}
end
if touched then
  redis.call('HSET', record, 'l', last_seen_ms)
  keep_until(idle_end_ms, now_ms, record, index, sid)
end
return {1, created_ms, last_seen_ms, absolute_end_ms, idle_end_ms, began, user, policy, device}
