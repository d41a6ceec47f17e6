-- cache/set.lua: store what a caller loaded for itself; with a permit, write nothing if a read would refuse it by now.
--
-- With a permit, the value belongs to the moment of the miss: it is refused if its key, a tag or everything was
-- invalidated since, if the clock was lost, if another primary serves, or under a hold. Callers who share the permit
-- may store for another minute. Without one the value belongs to now: it replaces the entry, and loads in progress and
-- other permits are refused. A hold stays.
--
-- KEYS[1]  entry       string; the cached envelope
-- KEYS[2]  lease       string; the token of a load of the entry, or a hold
-- KEYS[3]  permit      string; as cache/get.lua writes it
-- KEYS[4]  clock_key   hash; e epoch, s sequence, x latest expiry, t:*, t:? and t:<tag> marks
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  token       text; the permit, or 24 hex digits never used before, of which a lost clock takes its epoch
-- ARGV[4]  epoch       text, 32 characters, the epoch of the miss; empty without a permit
-- ARGV[5]  missed_at   integer >= 0; the sequence of the miss
-- ARGV[6]  missed_ms   integer >= 0; the server's time of the miss
-- ARGV[7]  keep_ms     integer >= 1
-- ARGV[8]  tail        text; number of tags, tags and body, as cache/envelope.py writes them
-- returns  {1 stored | 0 refused}
-- expires  entry after keep_ms; permit within a minute
-- cost     O(tags), 4..9 commands
-- idempotent no
-- flags    none
--#include lib/now.lua
--#include lib/envelope_status.lua
--#include lib/is_ahead.lua
--#include lib/keep_marks.lua
--#include lib/storable.lua
--#include lib/store_entry.lua

local entry, lease, permit, clock_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now_ms = clock(tonumber(ARGV[1]))
local primary, token, epoch = string.format('%-16.16s', ARGV[2]), ARGV[3], ARGV[4]
local missed_at, missed_ms, keep_ms, tail = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]

local has_permit = epoch ~= ''
local is_hold = string.sub(redis.call('GET', lease) or '', 1, 1) == 'H'
local sequence, load_ms = missed_at, math.min(math.max(now_ms - missed_ms, 0), 99999999)
if not has_permit then
  local state = redis.call('HMGET', clock_key, 'e', 's')
  epoch, sequence, load_ms = (state[1] or string.sub(token, 1, 16)) .. primary, tonumber(state[2] or 0), 0
  if not state[1] then redis.call('HSET', clock_key, 'e', string.sub(token, 1, 16)) end
end
local head = string.format('R1%013d%013d%08d%s%012d', now_ms, now_ms + keep_ms, load_ms, epoch, sequence)
local is_storable, present = storable(head .. tail, clock_key, primary, now_ms)

if has_permit and (is_hold or not is_storable or redis.call('GET', permit) ~= token) then return {0} end

store_entry(entry, head .. tail, keep_ms, clock_key, present, now_ms)
if not has_permit then
  redis.call('DEL', permit)
  if not is_hold then redis.call('DEL', lease) end
elseif redis.call('PTTL', permit) > 60000 then
  redis.call('PEXPIRE', permit, 60000)
end
return {1}
