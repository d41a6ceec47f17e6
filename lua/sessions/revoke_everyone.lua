-- sessions/revoke_everyone.lua: end every session of every user of one hash tag, by the epoch that all of them began in.
--
-- Without an epoch no session of the tag lives, and nothing is written. All runs of a call have its name: a session that
-- begins after the first one lives. Records and indexes stay until they expire. On a new primary the call is repeated with
-- the epoch that it had raised: one as high stays, and a lower one is raised to it, which also ends what began there in
-- the meantime.
--
-- KEYS[1]  all_users   hash; ep in ms, for all users, call = the last four calls
-- KEYS[2]  events      stream
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  call        text; names this call
-- ARGV[3]  given_ms    integer; the epoch that an earlier run raised, 0 to raise it now
-- ARGV[4]  channel     text; the channel of revocations
-- ARGV[5]  notice      text; is announced after the epoch in ms
-- returns  {the epoch in ms}, 0 if there is none
-- expires  all_users never; events 30 days
-- cost     O(1), 5 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/write_event.lua
--#include lib/announce.lua

local all_users, events = KEYS[1], KEYS[2]
local now_ms = clock(tonumber(ARGV[1]))
local call, given_ms, channel, notice = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]

local found = redis.call('HMGET', all_users, 'ep', 'call')
local before = tonumber(found[1] or 0)
local first = given_ms > before or given_ms == 0 and before > 0 and not string.find(found[2] or '', call, 1, true)
if not first then return {before} end

local raised_ms = given_ms > 0 and given_ms or math.max(before + 1, now_ms)
redis.call('HSET', all_users, 'ep', raised_ms, 'call', string.sub(call .. (found[2] or ''), 1, 104))
write_event(events, now_ms, 'everyone', '', '')
announce(channel, raised_ms, notice)
return {raised_ms}
