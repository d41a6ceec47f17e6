-- sessions/resume.lua: begin the session of a ticket, and end those that its user chose; a refusal writes nothing.
--
-- A ticket is good once, and in the epochs that it was made in, which every end of all sessions raises, also a user's
-- who is disabled. A second run finds its own session. A memo tells whose a session is, also one that is over already.
--
-- KEYS[1]  ticket      hash; the login, as ask keeps it
-- KEYS[2]  record      hash; the new session
-- KEYS[3]  index       sorted set; sid -> end in ms, of the user's sessions
-- KEYS[4]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[5]  all_users   hash; ep in ms, for all users
-- KEYS[6]  events      stream
-- KEYS[7]  memo        hash; what stays of the session for 24 hours after its end
-- KEYS[2i+6..2i+7]     record and memo of the i-th chosen session
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  shown       text, 48 hex digits; the verifier of the ticket that was presented
-- ARGV[3]  sid         text, 26 characters; of the new session
-- ARGV[4]  verifier    text, 48 hex digits; of the new session's secret
-- ARGV[5]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[6]  records     text; a record's name without its sid; a memo's has :memo behind it
-- ARGV[7]  channel     text; the channel of revocations
-- ARGV[i+7] chosen     text, 26 characters; the sid of the i-th chosen session
-- returns  {1, created_ms, absolute_end_ms, idle_end_ms, user, policy, device, login behind its time}, {0} no such ticket,
--          {3, how many more must end, the ticket's end in ms, user}, {4, i} the i-th is no session of the user
-- expires  as create; a ticket that was used at its end
-- touches  records of the members of index, at the cap, all before the first write; memos of those that end
-- cost     O(log sessions), 24 + 9 * chosen commands; at the cap O(cap), cap more
-- idempotent yes
-- flags    none
--#include lib/now.lua
--#include lib/lengthen.lua
--#include lib/keep_until.lua
--#include lib/end_session.lua
--#include lib/live_sessions.lua
--#include lib/remove_over.lua
--#include lib/write_event.lua
--#include lib/announce.lua
--#include lib/begin_session.lua
--#include lib/read_ticket.lua
--#include lib/begun_reply.lua

local ticket, record, index, epoch, all_users, events, memo = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local now_ms, shown, sid, verifier, digest = clock(tonumber(ARGV[1])), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local records, channel, live, over, chosen = ARGV[6], ARGV[7], {}, {}, {}

local made, own, login, details = redis.call('HGET', record, 'h'), redis.call('HGET', epoch, 'ep'), read_ticket(ticket)
local everyone, missing = redis.call('HGET', all_users, 'ep'), 1 - (login.cap or 0)

if made then return made == verifier and begun_reply(record) or redis.error_reply('ERR this sid is taken') end
if login.shown ~= shown or login.used or own ~= login.user_epoch or everyone ~= login.global_epoch then return {0} end
for i = 1, (#KEYS - 7) / 2 do
  if redis.call('HGET', KEYS[2 * i + 7], 'd') ~= digest then return {4, i} end
  chosen[ARGV[i + 7]] = true
end
if redis.call('ZCOUNT', index, now_ms + 1, '+inf') >= login.cap then
  live, over = live_sessions(now_ms, index, records, tonumber(own), tonumber(everyone))
end
for _, one in ipairs(live) do missing = missing + (chosen[one] and 0 or 1) end
if missing > 0 then return {3, missing, login.end_ms, login.user} end

remove_over(index, records, over, now_ms)
for i = 1, (#KEYS - 7) / 2 do
  if end_session(KEYS[2 * i + 6], index, KEYS[2 * i + 7], ARGV[i + 7], 'evicted', now_ms) == 1 then
    write_event(events, now_ms, 'evicted', login.user, ARGV[i + 7])
    announce(channel, now_ms, login.notice .. ARGV[i + 7] .. login.notice_end)
  end
end
redis.call('HSET', ticket, '@used', 1)
login.sid, login.verifier, login.digest, login.own_epoch, login.all_epoch = sid, verifier, digest, own, everyone
begin_session(record, index, epoch, all_users, events, memo, now_ms, login, details)
return begun_reply(record)
