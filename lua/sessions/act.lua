-- sessions/act.lua: note that a live session begins an impersonation; an impersonation begins none, and writes nothing.
--
-- What ends the session reads the notes, to end what it began, as often as it is repeated: so they are beside the
-- session, and stay for the life of the impersonation. A second run of a call changes nothing but the time.
--
-- KEYS[1]  record      hash; the administrator's session
-- KEYS[2]  epoch       hash; ep in ms, dis = 1 while the user is disabled, acts = the notes
-- KEYS[3]  all_users   hash; ep in ms, for all users
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  digest      text, 32 hex digits; stands for the administrator in key names
-- ARGV[3]  sid         text, 26 characters; of the impersonation
-- ARGV[4]  user        text; who is impersonated; it has no line break
-- ARGV[5]  life_ms     integer; the longest that the impersonation may live
-- ARGV[6]  most        integer >= 1; the most notes of an administrator
-- ARGV[7]  actor_sid   text, 26 characters; of the administrator's session
-- returns  {1, created_ms, the user's epoch that the session began in, that of all users}, {0} unknown, {3} expired,
--          {4} revoked, {10} locked, {11} it is an impersonation itself, {12} there are the most notes
-- expires  epoch: as it is; a note is dropped with the life of its impersonation
-- cost     O(most), 5 commands
-- idempotent yes
-- flags    none
--#include lib/now.lua
--#include lib/read_session.lua
--#include lib/session_state.lua

local record, epoch, all_users = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local digest, sid, user, life_ms, most, actor_sid = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]

local session = read_session(record, digest)
if not session then return {0} end
local state = session_state(session, now_ms, epoch, all_users)
local acting, acts = redis.call('HGET', record, 'im'), redis.call('HGET', epoch, 'acts')

local notes = {}
for note in string.gmatch(acts or '', '[^\n]+') do
  local end_ms, other = string.match(note, '^(%d+) %S+ (%S+) ')
  if tonumber(end_ms) > now_ms and other ~= sid then notes[#notes + 1] = note end
end
if state ~= 1 then return {state} end
if acting == '1' then return {11} end
if #notes >= most then return {12} end

notes[#notes + 1] = (now_ms + life_ms) .. ' ' .. actor_sid .. ' ' .. sid .. ' ' .. user
redis.call('HSET', epoch, 'acts', table.concat(notes, '\n'))
return {1, session.created_ms, tonumber(session.began), tonumber(session.global_began)}
