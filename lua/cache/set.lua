-- cache/set.lua: store what a caller loaded for itself; write nothing if a read would refuse it by now.
--
-- The value belongs to the moment of its permit: it is refused if its key, a tag or everything was invalidated since, if
-- the clock was lost, or if another primary serves. Callers who share the permit may store for another minute.
--
-- KEYS[1]  entry       string; the cached envelope
-- KEYS[2]  permit      string; as cache/get.lua and cache/take_permit.lua write it
-- KEYS[3]  clock_key   hash; e epoch, s sequence, x latest expiry, t:*, t:? and t:<tag> marks
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  token       text; the permit
-- ARGV[4]  epoch       text, 32 characters, the epoch when it was granted
-- ARGV[5]  missed_at   integer >= 0; the sequence then
-- ARGV[6]  missed_ms   integer >= 0; the server's time then
-- ARGV[7]  keep_ms     integer >= 1
-- ARGV[8]  tail        text; number of tags, tags and body, as cache/envelope.py writes them
-- returns  {1 stored | 0 refused}
-- expires  entry after keep_ms; permit within a minute
-- cost     O(tags), 4..8 commands
-- idempotent no
-- flags    none
--#include lib/now.lua
--#include lib/envelope_cause.lua
--#include lib/envelope_status.lua
--#include lib/is_ahead.lua
--#include lib/keep_marks.lua
--#include lib/storable.lua
--#include lib/store_entry.lua

local entry, permit, clock_key = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local primary, token, epoch = string.format('%-16.16s', ARGV[2]), ARGV[3], ARGV[4]
local missed_at, missed_ms, keep_ms, tail = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]

local load_ms = math.min(math.max(now_ms - missed_ms, 0), 99999999)
local head = string.format('R1%013d%013d%08d%s%012d', now_ms, now_ms + keep_ms, load_ms, epoch, missed_at)
local is_storable, present = storable(head .. tail, clock_key, primary, now_ms)

if not is_storable or redis.call('GET', permit) ~= token then return {0} end

store_entry(entry, head .. tail, keep_ms, clock_key, present, now_ms)
if redis.call('PTTL', permit) > 60000 then redis.call('PEXPIRE', permit, 60000) end
return {1}
