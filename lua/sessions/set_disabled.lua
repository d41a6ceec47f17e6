-- sessions/set_disabled.lua: disable a user, who then has no session and gets none, or enable the user again.
--
-- Disabling raises the user's epoch, so that no session of before comes back with the user. The latest of these calls
-- holds: each has a time, and on a new primary one is repeated with the time that it had. If that has seen it or a later
-- one, nothing is written. Nor by a second run of a call, which may come late: the names of the last four are kept.
--
-- KEYS[1]  epoch       hash; ep in ms, dis = 1 while the user is disabled, since = the time of the last of these calls
-- KEYS[2]  events      stream
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  user        text, 1..256 characters
-- ARGV[3]  call        text; names this call
-- ARGV[4]  disabled    0 or 1
-- ARGV[5]  life_ms     integer; the longest that a session may live
-- ARGV[6]  given_ms    integer; the time that an earlier run had, 0 to take it now
-- ARGV[7]  channel     text; the channel of revocations
-- ARGV[8]  notice      text; is announced after the time in ms
-- returns  {the time in ms}
-- expires  epoch: never while the user is disabled, else with the last session that it may end; events 30 days
-- cost     O(1), 7 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/lengthen.lua
--#include lib/write_event.lua
--#include lib/announce.lua

local epoch, events = KEYS[1], KEYS[2]
local now_ms = clock(tonumber(ARGV[1]))
local user, call, disabled, life_ms = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local given_ms, channel, notice = tonumber(ARGV[6]), ARGV[7], ARGV[8]

local own = redis.call('HMGET', epoch, 'ep', 'since', 'by')
local user_epoch, since_ms = tonumber(own[1] or 0), tonumber(own[2] or 0)

local first = given_ms > since_ms or given_ms == 0 and not string.find(own[3] or '', call, 1, true)
if not first then return {since_ms} end
since_ms = given_ms > 0 and given_ms or math.max(since_ms + 1, now_ms)
if disabled == 1 or not own[1] then user_epoch = math.max(user_epoch + 1, since_ms) end

redis.call('HSET', epoch, 'ep', user_epoch, 'dis', disabled, 'since', since_ms, 'by', string.sub(call .. (own[3] or ''), 1, 104))
if disabled == 1 then redis.call('PERSIST', epoch) else lengthen(epoch, life_ms) end
write_event(events, now_ms, disabled == 1 and 'disabled' or 'enabled', user, '')
announce(channel, since_ms, notice)
return {since_ms}
