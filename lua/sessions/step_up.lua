-- sessions/step_up.lua: note that the user of a session was authenticated anew, and replace its secret; else write nothing.
--
-- Its idle time and its lifetime begin anew, each as long as it was at first. A locked session opens again; one that is
-- over never does, and of one that another user acts in no factor of its user says who that is: it is refused.
-- A former secret in its grace may ask for it too. A second run finds its own secret and replies the same.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  index       sorted set; the user's sessions
-- KEYS[3]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[4]  all_users   hash; ep in ms, for all users
-- KEYS[5]  events      stream
-- KEYS[6]  memo        hash; what stays of the session for 24 hours after its end
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  sid         text, 26 characters
-- ARGV[3]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[4]  verifier    text, 48 hex digits; of the secret that was presented
-- ARGV[5]  successor   text, 48 hex digits; of the new secret, which no other call has
-- ARGV[6]  login       text; what is known of the authentication, behind its time
-- returns  as verify, with touch_due and renewal_due 0; {10} a second run after it locked again, {11} impersonated
-- expires  record, memo, index, epoch: as create; events 30 days
-- cost     O(log sessions), 22 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua
--#include lib/open_session.lua
--#include lib/lengthen.lua
--#include lib/keep_until.lua
--#include lib/record_use.lua
--#include lib/keep_memo.lua
--#include lib/replace_secret.lua
--#include lib/write_event.lua
--#include lib/session_reply.lua

local record, index, epoch, all_users, events, memo = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now_ms = clock(tonumber(ARGV[1]))
local sid, digest, verifier, successor, login = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local again = redis.call('HGET', record, 'h') == successor
local secret = again and successor or verifier
local session, refusal = open_session(record, epoch, all_users, now_ms, digest, secret, not again)
if not session then return refusal end
if string.find(session.authentication, '^%d+ %S+ %S+ .') then return {11} end
if again then return session_reply(session, 1, 0, 0) end

local absolute_ms = tonumber(redis.call('HGET', record, 'ax'))
session.authentication = now_ms .. ' ' .. login
session.last_seen_ms, session.absolute_end_ms = now_ms, now_ms + absolute_ms
session.idle_end_ms = now_ms + math.min(session.idle_ms, absolute_ms)

replace_secret(session, now_ms, record, memo, successor)
redis.call('HSET', record, 'x', session.absolute_end_ms, 'au', session.authentication)
redis.call('HSET', memo, 'x', session.absolute_end_ms)
record_use(session, now_ms, record, index, epoch, memo, sid)
write_event(events, now_ms, 'stepped-up', session.user, sid)
return session_reply(session, 1, 0, 0)
