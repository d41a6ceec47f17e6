-- sessions/revoke_all.lua: end every session that a user has, except one to keep; a session that is over is not kept.
--
-- The epoch, a time, is raised first: that alone ends all, also those that the index lost. Then its members are removed,
-- a part per run. All runs of a call have its name, so the epoch is raised and the event written once, however often a
-- run is repeated: a session that begins in between lives. On a new primary the call is repeated with its epoch: one as
-- high stays and nothing is written, a lower one is raised, and sessions that began later live, as the call did not
-- include them. A server that hung may run the creation of one late that the call included: the reply names young ones.
--
-- KEYS[1]  index       sorted set; the user's sessions
-- KEYS[2]  epoch       hash; ep in ms, dis = 1 while the user is disabled, call = the last four calls, acts = notes
-- KEYS[3]  events      stream
-- KEYS[4]  kept        hash; the session to keep; no session's if there is none
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  user        text, 1..256 characters
-- ARGV[3]  call        text; names this call
-- ARGV[4]  keep        text; the sid to keep, or empty
-- ARGV[5]  records     text; a record's name without its sid; a memo's has :memo behind it
-- ARGV[6]  life_ms     integer; the longest that a session may live
-- ARGV[7]  skip        integer >= 0; members already looked at and left alive
-- ARGV[8]  part        integer >= 1; members to look at
-- ARGV[9]  given_ms    integer; the epoch that an earlier run raised, 0 to raise it now
-- ARGV[10] channel     text; the channel of revocations
-- ARGV[11] notice      text; is announced after the epoch in ms
-- ARGV[12] young_ms    integer; how long a session is young
-- ARGV[13] why         text; why the sessions are over
-- returns  {members looked at, of these removed, the epoch in ms, {sids of those removed that were young}, notes of acts}
-- expires  memos 24 hours; epoch with the last session that it may end, not while the user is disabled; events 30 days
-- touches  records of the members of index, all before the first write; memos of those that end
-- cost     O(part), 10 + 5 * part commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/lengthen.lua
--#include lib/end_session.lua
--#include lib/write_event.lua
--#include lib/announce.lua
--#include lib/acts_begun.lua

local index, epoch, events, kept = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now_ms = clock(tonumber(ARGV[1]))
local user, call, keep, records, channel, notice, why = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[10], ARGV[11], ARGV[13]
local life_ms, skip, part = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local given_ms, young_ms = tonumber(ARGV[9]), tonumber(ARGV[12])

local own, owner = redis.call('HMGET', epoch, 'ep', 'dis', 'call', 'acts'), redis.call('HMGET', kept, 'u', 'e')
local before, members, found = tonumber(own[1] or 0), redis.call('ZRANGE', index, skip, skip + part - 1), {}
for i, sid in ipairs(members) do found[i] = redis.call('HMGET', records .. sid, 'e', 'c') end

local repeated, removed, young = given_ms > 0, 0, {}
local first = repeated and before < given_ms or not repeated and not string.find(own[3] or '', call, 1, true)
local keeps = owner[1] == user and tonumber(owner[2]) == before
local user_epoch = not first and before or repeated and given_ms or math.max(before + 1, now_ms)

if first then
  redis.call('HSET', epoch, 'ep', user_epoch, 'call', string.sub(call .. (own[3] or ''), 1, 104))
  write_event(events, now_ms, 'revoked-all', user, keep)
  announce(channel, user_epoch, notice)
end
if first and own[2] ~= '1' then lengthen(epoch, life_ms) end
if first and keeps then redis.call('HSET', kept, 'e', user_epoch) end
for i, sid in ipairs(members) do
  local began, created_ms = tonumber(found[i][1] or -1), tonumber(found[i][2] or 0)
  if first and repeated and began == before and created_ms > given_ms then
    redis.call('HSET', records .. sid, 'e', user_epoch)
  elseif began ~= user_epoch and not (keeps and sid == keep) then
    removed = removed + end_session(records .. sid, index, records .. sid .. ':memo', sid, why, now_ms)
    if created_ms > now_ms - young_ms then young[#young + 1] = sid end
  end
end
return {#members, removed, user_epoch, young, acts_begun(own[4], keeps and keep or '', true)}
