-- cache/end_write.lua: take a write out of its queue, and end its hold; a write that failed goes to the dead letters.
--
-- If a later write holds the key, that is left as it is. If the hold is lost, a load may have stored what the source said
-- before: the value is removed. So it is if the write failed, because the source does not have it.
--
-- KEYS[1]  queue       stream; as cache/queue_write.lua writes it
-- KEYS[2]  dead        stream; id, write and reason of writes that failed
-- KEYS[3]  entry       string; the cached envelope
-- KEYS[4]  lease       string; a hold, or the token of a load
-- KEYS[5]  permit      string; as cache/get.lua writes it
-- KEYS[6]  clock_key   hash; s sequence
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  group       text; the name of the consumer group
-- ARGV[3]  stream_id   text; the entry of the queue
-- ARGV[4]  hold        text; the hold that came with it
-- ARGV[5]  until_ms    integer >= 0; the end of the hold that was there before
-- ARGV[6]  id          text; the name of the write
-- ARGV[7]  dead_max    integer >= 0; how many dead letters are kept; 0 for a write that was applied
-- ARGV[8]  reason      text; the kind of error
-- ARGV[9]  write       text; what the consumer got; empty for a write that was applied
-- returns  {1 ended | 0 it had ended before}
-- expires  dead letters 30 days after the latest; a hold that goes on at its time
-- cost     O(1), 6..10 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua

local queue, dead, entry, lease, permit, clock_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local now_ms = clock(tonumber(ARGV[1]))
local group, stream_id, hold, until_ms = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local id, dead_max, reason, write = ARGV[6], tonumber(ARGV[7]), ARGV[8], ARGV[9]

local holder = redis.call('GET', lease) or ''
local is_latest, is_hold = holder == hold, string.sub(holder, 1, 1) == 'H'
local has_failed = dead_max > 0

redis.call('XACK', queue, group, stream_id)
if redis.call('XDEL', queue, stream_id) == 0 then return {0} end
if has_failed then
  redis.call('XADD', dead, 'MAXLEN', dead_max, '*', 'id', id, 'write', write, 'reason', reason)
  redis.call('PEXPIRE', dead, 2592000000)
end
local sequence = redis.call('HINCRBY', clock_key, 's', 1)
if is_hold and not is_latest then return {1} end
if has_failed or not is_hold then redis.call('UNLINK', entry) end
if until_ms > now_ms then
  redis.call('SET', lease, string.format('H%012d', sequence), 'PX', until_ms - now_ms)
else
  redis.call('DEL', lease)
end
redis.call('DEL', permit)
return {1}
