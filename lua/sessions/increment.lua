-- sessions/increment.lua: add to a whole number of a session's data, from 0 if there is none; a refusal writes nothing.
--
-- KEYS[1]  record      hash; the session, with its data: each name behind a point
-- KEYS[2]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[3]  all_users   hash; ep in ms, for all users
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[3]  verifier    text, 48 hex digits
-- ARGV[4]  most_bytes  integer; the most bytes of all names and values
-- ARGV[5]  most_names  integer; the most values
-- ARGV[6]  name        text, behind a point
-- ARGV[7]  by          integer, of up to 14 digits
-- returns  {1, created_ms, epoch, global epoch, version, sum},
--          {8, version} too large, {9, version} no whole number of up to 14 digits; else as verify
-- expires  record as before
-- cost     O(1), 7 commands
-- idempotent no
-- flags    none
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua
--#include lib/open_session.lua
--#include lib/data_fits.lua

local record, epoch, all_users = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local digest, verifier, name = ARGV[2], ARGV[3], ARGV[6]
local most_bytes, most_names, by = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[7])

local session, refusal = open_session(record, epoch, all_users, now_ms, digest, verifier)
if not session then return refusal end
local found = redis.call('HMGET', record, name, 'g')
local old, present = found[1] or '0', tonumber(found[2])
if not string.find(old, '^%-?%d+$') or #old > 15 then return {9, present} end
local sum = tonumber(old) + by
if math.abs(sum) >= 100000000000000 then return {9, present} end

local text = string.format('%.0f', sum)
local version, bytes, number = data_fits(record, most_bytes, most_names, {name}, {text})
if not version then return {8, present} end

redis.call('HSET', record, 'g', version, 'z', bytes, 'k', number, name, text)
return {1, session.created_ms, tonumber(session.began), tonumber(session.global_began), version, sum}
