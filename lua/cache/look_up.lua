-- cache/look_up.lua: return those of several envelopes that are valid; a miss leaves nothing but its count.
--
-- A miss that is not final is neither counted here nor a reason to begin a lost clock: its caller goes on to
-- cache/get.lua or cache/get_or_lease.lua. So does the caller of an entry that the reply has no room for.
--
-- KEYS[1]  clock_key   hash; e epoch, s sequence, x latest expiry, w, c the sweep, t:* and t:<tag> marks, n:<cause> counts
-- KEYS[2..]            strings; 1..32 entries, the cached envelopes; equal ones are looked up one by one
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  room        integer >= 0; how many bytes of envelopes the reply may have
-- ARGV[4]  finals      text; for each entry 1 if a miss is final, else 0
-- returns  {now_ms, then for each entry its envelope, or why not: 0 no room, 1 absent, 2 invalidated, 3 epoch, 4 unusable}
-- expires  the clock never
-- cost     O(tags of all), 4..8 commands, 3..4 more if a sweep is due
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/envelope_cause.lua

local clock_key = KEYS[1]
local now_ms = clock(tonumber(ARGV[1]))
local primary, room, finals = string.format('%-16.16s', ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local envelopes = redis.call('MGET', unpack(KEYS, 2))
local fields, size = {'e', 'w', 't:*'}, 3
for i = 1, #envelopes do
  local tags = envelopes[i] and string.sub(envelopes[i], 81, 82)
  if tags and tags ~= '00' then
    for tag = 1, tonumber(tags) or 0 do
      size = size + 1
      fields[size] = 't:' .. string.sub(envelopes[i], 67 + 16 * tag, 82 + 16 * tag)
    end
  end
end
local marks = redis.call('HMGET', clock_key, unpack(fields))

local place, floor, due_ms = (marks[1] or '') .. primary, marks[3] and tonumber(string.sub(marks[3], 1, 12)), marks[2]
local numbers, counts, hits, reply = {absent = 1, invalidated = 2, epoch = 3, unusable = 4}, {}, 0, {now_ms}
local cause, at = nil, 3
for i = 1, #envelopes do
  local envelope = envelopes[i]
  cause, at = envelope_cause(envelope, place, floor, marks, at, now_ms)
  if cause ~= 'hit' then
    reply[i + 1] = numbers[cause]
    if string.byte(finals, i) == 49 then counts[cause] = (counts[cause] or 0) + 1 end
  elseif #envelope > room then
    reply[i + 1] = 0
  else
    reply[i + 1], room, hits = envelope, room - #envelope, hits + 1
  end
end

if hits > 0 then counts.hit = hits end
for each, number in pairs(counts) do redis.call('HINCRBY', clock_key, 'n:' .. each, number) end
if due_ms and tonumber(due_ms) <= now_ms then
--#include lib/is_ahead.lua
--#include lib/sweep_marks.lua
  sweep_marks(clock_key, tonumber(due_ms), now_ms)
end
return reply
