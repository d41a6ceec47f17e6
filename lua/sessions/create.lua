-- sessions/create.lua: create a session, at the cap ending those that expire first; a refusal writes nothing.
--
-- No other script creates a record. A second run finds its own record and replies the same. A session lives in the
-- epochs of its creation, which last as long: a missing one was lost, so it begins anew, and what was before is over.
--
-- KEYS[1]  record      hash; the new session
-- KEYS[2]  index       sorted set; sid -> end in ms, of the user's sessions
-- KEYS[3]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[4]  all_users   hash; ep in ms, for all users
-- KEYS[5]  events      stream
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  sid         text, 26 characters
-- ARGV[3]  verifier    text, 48 hex digits
-- ARGV[4]  user        text, 1..256 characters
-- ARGV[5]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[6]  idle_ms     integer >= 1000
-- ARGV[7]  absolute_ms integer >= idle_ms
-- ARGV[8]  cap         integer 1..1000
-- ARGV[9]  evict       0 or 1; at the cap refuse, or end sessions
-- ARGV[10] records     text; a record's name without its sid
-- ARGV[11] renew_ms    integer >= 0; the age at which a secret is to be renewed, or 0
-- ARGV[12..] details   what else is stored, as pairs: p policy, dv device's label
-- returns  {1 created, created_ms, absolute_end_ms, idle_end_ms}, {2} the user is disabled, {3} the cap refuses
-- expires  record at its idle end; index and epoch with the last of the user's sessions; all_users never; events 30 days
-- touches  records of the members of index, at the cap, all before the first write
-- cost     O(log sessions), 16 commands; at the cap O(cap), 16 + 5 * cap
-- idempotent yes
-- flags    none
--#include lib/now.lua
--#include lib/lengthen.lua
--#include lib/keep_until.lua
--#include lib/end_session.lua
--#include lib/live_sessions.lua
--#include lib/write_event.lua

local record, index, epoch, all_users, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms, renew_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[11])
local sid, verifier, user, digest, records = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[10]
local idle_ms, absolute_ms, cap, evict = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

local made = redis.call('HMGET', record, 'h', 'c', 'x', 'w')
local own = redis.call('HMGET', epoch, 'ep', 'dis')
local everyone = redis.call('HGET', all_users, 'ep')
local user_epoch, global_epoch = tonumber(own[1] or now_ms), tonumber(everyone or now_ms)
local live, over = {}, {}
if redis.call('ZCOUNT', index, now_ms + 1, '+inf') >= cap then
  live, over = live_sessions(now_ms, index, records, user_epoch, global_epoch)
end

if made[1] == verifier then return {1, tonumber(made[2]), tonumber(made[3]), made[2] + made[4]} end
if made[1] then return redis.error_reply('ERR this sid belongs to another session') end
if own[2] == '1' then return {2} end
if #live >= cap and evict == 0 then return {3} end
local absolute_end_ms, idle_end_ms = now_ms + absolute_ms, now_ms + idle_ms

if not own[1] then redis.call('HSET', epoch, 'ep', user_epoch) end
if not everyone then redis.call('HSET', all_users, 'ep', global_epoch) end
lengthen(epoch, absolute_ms)
redis.call('ZREMRANGEBYSCORE', index, '-inf', now_ms)
for _, ghost in ipairs(over) do end_session(records .. ghost, index, ghost) end
for i = 1, #live - cap + 1 do
  end_session(records .. live[i], index, live[i])
  write_event(events, now_ms, 'evicted', user, live[i])
end
redis.call('HSET', record, 'h', verifier, 'u', user, 'd', digest, 'c', now_ms, 'a', now_ms, 'l', now_ms,
  'x', absolute_end_ms, 'w', idle_ms, 'e', user_epoch, 'ge', global_epoch, 'g', 1, unpack(ARGV, 12))
if renew_ms > 0 then redis.call('HSET', record, 'n', renew_ms, 'ra', now_ms + renew_ms) end
keep_until(idle_end_ms, now_ms, record, index, sid)
write_event(events, now_ms, 'created', user, sid)
return {1, now_ms, absolute_end_ms, idle_end_ms}
