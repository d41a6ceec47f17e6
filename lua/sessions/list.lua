-- sessions/list.lua: return a user's live sessions, the next to end first; a disabled user has none. Changes nothing.
--
-- KEYS[1]  index       sorted set; sid -> end in ms, of the user's sessions
-- KEYS[2]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[3]  all_users   hash; ep in ms, for all users
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  records     text; a record's name without its sid
-- ARGV[3]  most        integer >= 1; sessions to return at most
-- returns  {created_ms, last_seen_ms, absolute_end_ms, idle_end_ms, sid, policy, device, ...}, seven per session
-- expires  nothing is written
-- touches  records of the members of index
-- cost     O(sessions), 3 + 2 * sessions commands
-- idempotent yes
-- flags    no-writes
--#include lib/now.lua
--#include lib/live_sessions.lua

local index, epoch, all_users = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local records, most = ARGV[2], tonumber(ARGV[3])

local own = redis.call('HMGET', epoch, 'ep', 'dis')
local user_epoch, disabled = tonumber(own[1] or 0), tonumber(own[2] or 0)
local global_epoch = tonumber(redis.call('HGET', all_users, 'ep') or 0)
local live = live_sessions(now_ms, index, records, user_epoch, global_epoch)

if disabled == 1 then return {} end

local reply = {}
for i = 1, math.min(#live, most) do
  local found = redis.call('HMGET', records .. live[i], 'c', 'l', 'x', 'w', 'p', 'dv')
  local last_seen_ms, absolute_end_ms = tonumber(found[2]), tonumber(found[3])
  local idle_end_ms = math.min(last_seen_ms + found[4], absolute_end_ms)
  local session = {tonumber(found[1]), last_seen_ms, absolute_end_ms, idle_end_ms, live[i], found[5], found[6]}
  for _, value in ipairs(session) do reply[#reply + 1] = value end
end
return reply
