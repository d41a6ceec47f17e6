-- sessions/impersonate.lua: begin a session in which an administrator acts as a user; a refusal writes nothing.
--
-- It is one of the user's sessions, so all that ends these ends it; but it does not count among them at their cap, and
-- makes no room by ending one. sessions/act has noted it on the administrator's session. A second run finds its own.
--
-- KEYS[1]  record      hash; the new session
-- KEYS[2]  index       sorted set; sid -> end in ms, of the user's sessions
-- KEYS[3]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[4]  all_users   hash; ep in ms, for all users
-- KEYS[5]  events      stream
-- KEYS[6]  memo        hash; what stays of the session for 24 hours after its end
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  sid         text, 26 characters
-- ARGV[3]  verifier    text, 48 hex digits
-- ARGV[4]  user        text, 1..256 characters
-- ARGV[5]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[6]  idle_ms     integer >= 1000
-- ARGV[7]  absolute_ms integer >= idle_ms
-- ARGV[8]  cap         integer 1..1000; impersonations of the user at a time
-- ARGV[9]  records     text; a record's name without its sid
-- ARGV[10] actor       text; the administrator's user
-- ARGV[11] actor_sid   text; the administrator's session
-- ARGV[12] reason      text
-- ARGV[13] login       text; as create has it
-- ARGV[14..] details   what else is stored, as pairs: p policy, dv device's label
-- returns  {1 begun, created_ms, absolute_end_ms, idle_end_ms}, {2} the user is disabled, {3} the cap refuses
-- expires  record at its end, memo 24 hours later; index and epoch with the last session; all_users never; events 30 days
-- touches  records of the members of index, if there are as many as the cap, all before the first write
-- cost     O(sessions), 18 commands; at the cap 1 more for each session of the user
-- idempotent yes
-- flags    none
--#include lib/now.lua
--#include lib/lengthen.lua
--#include lib/keep_until.lua
--#include lib/live_sessions.lua
--#include lib/write_event.lua
--#include lib/begin_session.lua

local record, index, epoch, all_users, events, memo = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now_ms, sid, verifier, user, digest = clock(tonumber(ARGV[1])), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local idle_ms, absolute_ms, cap, records = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local actor, actor_sid, reason, login = ARGV[10], ARGV[11], ARGV[12], ARGV[13]

local made = redis.call('HMGET', record, 'h', 'c', 'x', 'w')
local own, everyone = redis.call('HMGET', epoch, 'ep', 'dis'), redis.call('HGET', all_users, 'ep')
local user_epoch, global_epoch, live = tonumber(own[1] or now_ms), tonumber(everyone or now_ms), {}
if redis.call('ZCOUNT', index, now_ms + 1, '+inf') >= cap then
  live = live_sessions(now_ms, index, records, user_epoch, global_epoch, true)
end

if made[1] == verifier then return {1, tonumber(made[2]), tonumber(made[3]), made[2] + made[4]} end
if made[1] then return redis.error_reply('ERR this sid belongs to another session') end
if own[2] == '1' then return {2} end
if #live >= cap then return {3} end

return begin_session(record, index, epoch, all_users, events, memo, now_ms, {
  sid = sid, verifier = verifier, user = user, digest = digest, idle_ms = idle_ms, absolute_ms = absolute_ms,
  renew_ms = 0, locks = 0, login = login, user_epoch = user_epoch, global_epoch = global_epoch,
  own_epoch = own[1], all_epoch = everyone, actor = actor, actor_sid = actor_sid, reason = reason,
}, {unpack(ARGV, 14)})
