-- sessions/take.lua: remove one value of a live session's data and return it, so that only one caller gets it.
--
-- If there is none, nothing is written. A call without an answer is not sent again: its value may be gone.
--
-- KEYS[1]  record      hash; the session, with its data: each name behind a point
-- KEYS[2]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[3]  all_users   hash; ep in ms, for all users
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[3]  verifier    text, 48 hex digits
-- ARGV[4]  name        text, behind a point
-- returns  {1, created_ms, epoch, global epoch, version, value}, without a value if there is none;
--          else as verify
-- expires  record as before
-- cost     O(1), 8 commands
-- idempotent no
-- flags    allow-oom
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua
--#include lib/open_session.lua
--#include lib/data_fits.lua

local record, epoch, all_users = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local digest, verifier, name = ARGV[2], ARGV[3], ARGV[4]

local session, refusal = open_session(record, epoch, all_users, now_ms, digest, verifier)
if not session then return refusal end
local found = redis.call('HMGET', record, name, 'g')
if not found[1] then return {1, session.created_ms, tonumber(session.began), tonumber(session.global_began), tonumber(found[2])} end

local version, bytes, number = data_fits(record, 0, 0, {name}, {''})

redis.call('HSET', record, 'g', version, 'z', bytes, 'k', number)
redis.call('HDEL', record, name)
return {1, session.created_ms, tonumber(session.began), tonumber(session.global_began), version, found[1]}
