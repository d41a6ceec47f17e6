-- sessions/rotate.lua: replace the secret of a live session; the former one opens nothing from then on.
--
-- A former secret in its grace may ask for it too. A second run finds its own secret and replies the same.
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
-- ARGV[5]  successor   text, 48 hex digits; of the new secret, which no other call has
-- returns  as verify, with touch_due and renewal_due 0
-- expires  record, memo, index, epoch: as touch; events 30 days
-- cost     O(log sessions), 20 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua
--#include lib/open_session.lua
--#include lib/touch_session.lua
--#include lib/lengthen.lua
--#include lib/keep_until.lua
--#include lib/record_use.lua
--#include lib/keep_memo.lua
--#include lib/replace_secret.lua
--#include lib/write_event.lua
--#include lib/session_reply.lua

local record, index, epoch, all_users, events, memo = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now_ms = clock(tonumber(ARGV[1]))
local sid, digest, verifier, successor = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local again = redis.call('HGET', record, 'h') == successor
local session, refusal = open_session(record, epoch, all_users, now_ms, digest, again and successor or verifier)
if not session then return refusal end

if not again then
  replace_secret(session, now_ms, record, memo, successor)
  write_event(events, now_ms, 'rotated', session.user, sid)
end
if touch_session(session, now_ms) == 1 then record_use(session, now_ms, record, index, epoch, memo, sid) end
return session_reply(session, 1, 0, 0)
