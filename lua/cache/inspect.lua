-- cache/inspect.lua: tell what a read of an entry would find and why, and change nothing.
--
-- KEYS[1]  entry       string; the cached envelope
-- KEYS[2]  lease       string; the token of a load of the entry, or a hold
-- KEYS[3]  clock_key   hash; e epoch, s sequence, t:*, t:? and t:<tag> marks
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  bytes       integer >= 1700, which the longest header has; how much of the envelope is returned
-- returns  {cause: 0 hit, 1 absent, 2 invalidated, 3 epoch, 4 unusable, now_ms, size_bytes, lease_left_ms, -2 without a
--          lease, beginning of the envelope, content of the lease, mark of everything, marks of its tags}
-- expires  nothing is written
-- cost     O(tags), 6 commands
-- idempotent yes
-- flags    no-writes
--#include lib/now.lua
--#include lib/cause_number.lua
--#include lib/envelope_cause.lua
--#include lib/envelope_status.lua

local entry, lease, clock_key = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local primary = string.format('%-16.16s', ARGV[2])
local bytes = tonumber(ARGV[3])

local envelope = redis.call('GETRANGE', entry, 0, bytes - 1)
local cause = envelope_status(envelope, clock_key, primary, now_ms)
local fields = {'t:*'}
local tags = cause ~= 'unusable' and envelope ~= '' and tonumber(string.sub(envelope, 81, 82)) or 0
for i = 1, tags do fields[1 + i] = 't:' .. string.sub(envelope, 67 + 16 * i, 82 + 16 * i) end
local marks = redis.call('HMGET', clock_key, unpack(fields))

local reply = {cause_number(cause), now_ms, redis.call('STRLEN', entry), redis.call('PTTL', lease), envelope}
reply[6] = redis.call('GET', lease) or ''
for i = 1, #fields do reply[6 + i] = marks[i] or '' end
return reply
