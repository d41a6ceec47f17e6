-- sessions/renew.lua: replace the secret of a session, if that has come of age, by one that can be computed from it.
--
-- All who present the same secret ask for the same successor: the first replaces it, the others find that done. So does
-- a client that lost the answer: the former secret is good until the successor was presented, and for its grace then.
-- If nothing is due, nothing is written.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  index       sorted set; sid -> end in ms, of the user's sessions
-- KEYS[3]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[4]  all_users   hash; ep in ms, for all users
-- KEYS[5]  events      stream
-- KEYS[6]  memo        hash; what stays of the session for 24 hours after its end
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  sid         text, 26 characters
-- ARGV[3]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[4]  verifier    text, 48 hex digits; of the secret that was presented
-- ARGV[5]  successor   text, 48 hex digits; of the secret that follows it
-- ARGV[6]  grace_ms    integer >= 1
-- returns  as verify, with touch_due 0; renewal_due is 1 if the client is to hold the successor
-- expires  record, memo, index, epoch: as touch; events 30 days
-- cost     O(log sessions), 15 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua
--#include lib/open_session.lua
--#include lib/touch_session.lua
--#include lib/renewal_due.lua
--#include lib/lengthen.lua
--#include lib/keep_until.lua
--#include lib/record_use.lua
--#include lib/keep_memo.lua
--#include lib/write_event.lua
--#include lib/session_reply.lua

local record, index, epoch, all_users, events, memo = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now_ms = clock(tonumber(ARGV[1]))
local sid, digest, verifier, successor, grace_ms = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])

local session, found = open_session(record, epoch, all_users, now_ms, digest, verifier)
if not session then return found end
local due = found == 1 and renewal_due(session, now_ms) == 1

if due then
  redis.call('HSET', record, 'h', successor, 'ra', 0, 'hp', verifier, 'hpx', -grace_ms)
  keep_memo(session, now_ms, memo, 'h', successor, 'hp', verifier)
  write_event(events, now_ms, 'renewed', session.user, sid)
end
if touch_session(session, now_ms) == 1 then record_use(session, now_ms, record, index, epoch, memo, sid) end
return session_reply(session, 1, 0, (due or found == 6) and 1 or 0)
