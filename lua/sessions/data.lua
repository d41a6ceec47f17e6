-- sessions/data.lua: return the data of the session that a secret opens; changes nothing.
--
-- KEYS[1]  record      hash; the session
-- KEYS[2]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[3]  all_users   hash; ep in ms, for all users
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[3]  verifier    text, 48 hex digits
-- returns  {1, created_ms, epoch, global epoch, version, name, value, ...}, each name behind a point;
--          else as verify
-- expires  nothing is written
-- cost     O(data), 5 commands
-- idempotent yes
-- flags    no-writes
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua
--#include lib/open_session.lua

local record, epoch, all_users = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local digest, verifier = ARGV[2], ARGV[3]

local session, refusal = open_session(record, epoch, all_users, now_ms, digest, verifier)
if not session then return refusal end
local found = redis.call('HGETALL', record)

local reply = {1, session.created_ms, tonumber(session.began), tonumber(session.global_began), 0}
for i = 1, #found, 2 do
  if found[i] == 'g' then reply[5] = tonumber(found[i + 1]) end
  if string.sub(found[i], 1, 1) == '.' then
    reply[#reply + 1] = found[i]
    reply[#reply + 1] = found[i + 1]
  end
end
return reply
