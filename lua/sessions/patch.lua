-- sessions/patch.lua: set and remove values of a live session's data; a refusal, as of another version, writes nothing.
--
-- It never makes a record, and what it does not name stays. A change that makes the data smaller is not too large. The
-- reply of a second run has another version, so a call without an answer is not sent again.
--
-- KEYS[1]  record      hash; the session, with its data: each name behind a point
-- KEYS[2]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[3]  all_users   hash; ep in ms, for all users
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[3]  verifier    text, 48 hex digits
-- ARGV[4]  expected    integer >= 0; the version that the data must have, 0 for any
-- ARGV[5]  most_bytes  integer; the most bytes of all names and values
-- ARGV[6]  most_names  integer; the most values
-- ARGV[7..]            pairs of a name behind a point and a value, JSON or empty to remove it
-- returns  {1, created_ms, epoch, global epoch, version},
--          {7, version} another one, {8, version} too large; else as verify
-- expires  record as before
-- cost     O(pairs), 8 commands
-- idempotent no
-- flags    none
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua
--#include lib/open_session.lua
--#include lib/data_fits.lua

local record, epoch, all_users = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local digest, verifier, expected = ARGV[2], ARGV[3], tonumber(ARGV[4])
local most_bytes, most_names = tonumber(ARGV[5]), tonumber(ARGV[6])

local session, refusal = open_session(record, epoch, all_users, now_ms, digest, verifier)
if not session then return refusal end
local names, values = {}, {}
for i = 7, #ARGV, 2 do
  names[#names + 1], values[#values + 1] = ARGV[i], ARGV[i + 1]
end
local present = tonumber(redis.call('HGET', record, 'g'))
if expected > 0 and expected ~= present then return {7, present} end

local version, bytes, number = data_fits(record, most_bytes, most_names, names, values)
if not version then return {8, present} end

redis.call('HSET', record, 'g', version, 'z', bytes, 'k', number)
for i, name in ipairs(names) do
  if values[i] == '' then redis.call('HDEL', record, name) else redis.call('HSET', record, name, values[i]) end
end
return {1, session.created_ms, tonumber(session.began), tonumber(session.global_began), version}
