-- cache/queue_write.lua: queue a write to a source and store its value for readers; if the queue is full, write nothing.
--
-- A hold keeps loads of the key out of the cache until the write is applied, because the source has the old value until
-- then. Loads in progress and permits are refused. The hold of an invalidation goes on afterwards.
--
-- KEYS[1]  entry       string; the cached envelope
-- KEYS[2]  lease       string; becomes a hold: HW and 12 digits
-- KEYS[3]  permit      string; as cache/get.lua writes it
-- KEYS[4]  clock_key   hash; e epoch, s sequence, x latest expiry
-- KEYS[5]  queue       stream; id, hold, until and write of each
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  token       text, 24 hex digits, never used before; a lost clock takes some of them for its epoch
-- ARGV[4]  id          text; the name of the write, which its consumer gets
-- ARGV[5]  length_max  integer >= 1; how many writes may be queued
-- ARGV[6]  hold_ms     integer >= 1; how long loads are kept out at most
-- ARGV[7]  keep_ms     integer >= 0; how long the entry is kept; 0 stores none
-- ARGV[8]  tail        text; number of tags, tags and body, as cache/envelope.py writes them
-- ARGV[9]  write       text; what the consumer gets
-- returns  {1 queued | 0 full, length of the queue}
-- expires  entry after keep_ms; hold after hold_ms; a queued write never
-- cost     O(1), 8..12 commands
-- idempotent no
-- flags    none
--#include lib/now.lua
--#include lib/begin_clock.lua
--#include lib/is_ahead.lua
--#include lib/keep_marks.lua
--#include lib/store_entry.lua

local entry, lease, permit, clock_key, queue = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms = clock(tonumber(ARGV[1]))
local primary, token, id = string.format('%-16.16s', ARGV[2]), ARGV[3], ARGV[4]
local length_max, hold_ms, keep_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local tail, write = ARGV[8], ARGV[9]

local length = redis.call('XLEN', queue)
local holder = redis.call('GET', lease) or ''
local epoch = redis.call('HGET', clock_key, 'e')
local until_ms = 0
if string.sub(holder, 1, 1) == 'H' and string.sub(holder, 2, 2) ~= 'W' then
  until_ms = now_ms + redis.call('PTTL', lease)
end

if length >= length_max then return {0, length} end

epoch = epoch or begin_clock(clock_key, token, now_ms)
local sequence = redis.call('HINCRBY', clock_key, 's', 1)
local hold = string.format('HW%012d', sequence)
redis.call('SET', lease, hold, 'PX', hold_ms)
redis.call('DEL', permit)
if keep_ms > 0 then
  local head = string.format('R1%013d%013d%08d%s%012d', now_ms, now_ms + keep_ms, 0, epoch .. primary, sequence)
  store_entry(entry, head .. tail, keep_ms, clock_key, sequence, now_ms)
else
  redis.call('UNLINK', entry)
end
redis.call('XADD', queue, '*', 'id', id, 'hold', hold, 'until', until_ms, 'write', write)
return {1, length + 1}
