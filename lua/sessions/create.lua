-- sessions/create.lua: create a session, at the cap ending those that expire first; a refusal writes nothing.
--
-- Only lib/begin_session.lua writes a new record. A second run finds its own and replies the same. A session lives in the
-- epochs of its creation, which last as long: a missing one was lost, so it begins anew, and what was before is over.
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
-- ARGV[8]  cap         integer 1..1000
-- ARGV[9]  evict       0 or 1; at the cap refuse, or end sessions
-- ARGV[10] records     text; a record's name without its sid; a memo's has :memo behind it
-- ARGV[11] renew_ms    integer >= 0; the age at which a secret is to be renewed, or 0
-- ARGV[12] locks       0 or 1; whether the session ends when it is idle, or locks until its absolute end
-- ARGV[13] login       text; what is known of the login, behind its time
-- ARGV[14..] details   what else is stored, as pairs: p policy, dv device's label, and its data, as of patch
-- returns  {1 created, created_ms, absolute_end_ms, idle_end_ms}, {2} the user is disabled, {3} the cap refuses
-- expires  record at its end, memo 24 hours later; index and epoch with the last session; all_users never; events 30 days
-- touches  records of the members of index, at the cap, all before the first write; memos of those that end
-- cost     O(log sessions), 19 commands; at the cap O(cap), 19 + 7 * cap
-- idempotent yes
-- flags    none
--#include lib/now.lua
--#include lib/lengthen.lua
--#include lib/keep_until.lua
--#include lib/end_session.lua
--#include lib/live_sessions.lua
--#include lib/remove_over.lua
--#include lib/write_event.lua
--#include lib/begin_session.lua

local record, index, epoch, all_users, events, memo = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now_ms, records, login, locks = clock(tonumber(ARGV[1])), ARGV[10], ARGV[13], tonumber(ARGV[12])
local sid, verifier, user, digest, renew_ms = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[11])
local idle_ms, absolute_ms, cap, evict = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

local made = redis.call('HMGET', record, 'h', 'c', 'x', 'w')
local own, everyone = redis.call('HMGET', epoch, 'ep', 'dis'), redis.call('HGET', all_users, 'ep')
local user_epoch, global_epoch, live, over = tonumber(own[1] or now_ms), tonumber(everyone or now_ms), {}, {}
if redis.call('ZCOUNT', index, now_ms + 1, '+inf') >= cap then
  live, over = live_sessions(now_ms, index, records, user_epoch, global_epoch)
end

if made[1] == verifier then return {1, tonumber(made[2]), tonumber(made[3]), made[2] + made[4]} end
if made[1] then return redis.error_reply('ERR this sid belongs to another session') end
if own[2] == '1' then return {2} end
if #live >= cap and evict == 0 then return {3} end

remove_over(index, records, over, now_ms)
for i = 1, #live - cap + 1 do
  end_session(records .. live[i], index, records .. live[i] .. ':memo', live[i], 'evicted', now_ms)
  write_event(events, now_ms, 'evicted', user, live[i])
end
return begin_session(record, index, epoch, all_users, events, memo, now_ms, {
  sid = sid, verifier = verifier, user = user, digest = digest, idle_ms = idle_ms, absolute_ms = absolute_ms,
  renew_ms = renew_ms, locks = locks, login = login, user_epoch = user_epoch, global_epoch = global_epoch,
  own_epoch = own[1], all_epoch = everyone,
}, {unpack(ARGV, 14)})
