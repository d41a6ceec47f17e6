-- sessions/why.lua: return why a session is over, to who has its last secret; changes nothing.
--
-- The memo of a session stays for 24 hours after its end. What ended it wrote the reason there; an end by time is none
-- that is written, so then the life that is left to the memo tells when that was. The end of all users' sessions writes
-- none either: it is told if it came first, also when something else removed the record later.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[3]  all_users   hash; ep in ms, for all users
-- KEYS[4]  memo        hash; what stays of the session for 24 hours after its end
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[3]  verifier    text, 48 hex digits
-- returns  {0} unknown, or another secret, {1} it lives, {2, reason, since in ms}; a reason is a word
-- expires  nothing is written
-- cost     O(1), 6 commands
-- idempotent yes
-- flags    no-writes
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua
--#include lib/over_because.lua

local record, epoch, all_users, memo = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now_ms = clock(tonumber(ARGV[1]))
local digest, verifier = ARGV[2], ARGV[3]

local found = redis.call('HMGET', memo, 'd', 'h', 'hp', 'x', 'ge', 'why', 'at')
if found[1] ~= digest or verifier ~= found[2] and verifier ~= found[3] then return {0} end
local session = not found[6] and read_session(record, digest)
if session and session_state(session, now_ms, epoch, all_users) == 1 then return {1} end
if session then return {2, over_because(session, now_ms, epoch, all_users)} end
local absolute_end_ms, raised_ms = tonumber(found[4]), redis.call('HGET', all_users, 'ep')
local end_ms = tonumber(found[7] or now_ms + redis.call('PTTL', memo) - 86400000)

if raised_ms and raised_ms ~= found[5] and tonumber(raised_ms) < end_ms then return {2, 'everyone', tonumber(raised_ms)} end
if found[6] then return {2, found[6], end_ms} end
return {2, end_ms < absolute_end_ms - 1000 and 'idle' or 'expired', math.min(end_ms, absolute_end_ms)}
