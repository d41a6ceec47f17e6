-- cache/next_write.lua: take the eldest write of a queue, also one left behind; while another consumer is at work, none.
--
-- One consumer has the queue at a time, so that writes are applied in their order. It keeps the queue by taking, and by
-- cache/renew.lua. To the group all of them are one, because one takes over what another left, and none is left over.
--
-- KEYS[1]  queue       stream; as cache/queue_write.lua writes it
-- KEYS[2]  owner       string; the name of the consumer that has the queue
-- ARGV[1]  now_ms      integer; unused here
-- ARGV[2]  group       text; the name of the consumer group
-- ARGV[3]  name        text; the name of this consumer
-- ARGV[4]  lease_ms    integer >= 1; how long it has the queue from now
-- returns  {1 write | 2 empty | 3 another has it, length, attempts, stream_id, id, hold, until, write}
-- expires  owner after lease_ms
-- cost     O(1), 3..7 commands
-- idempotent no
-- flags    allow-oom

local queue, owner = KEYS[1], KEYS[2]
local _ = tonumber(ARGV[1])
local group, name, lease_ms = ARGV[2], ARGV[3], tonumber(ARGV[4])

local holder = redis.call('GET', owner)
local length = redis.call('XLEN', queue)

if holder and holder ~= name then return {3, length} end

redis.call('SET', owner, name, 'PX', lease_ms)
if length == 0 then return {2, length} end
local claimed = redis.pcall('XAUTOCLAIM', queue, group, 'writer', 0, '0-0', 'COUNT', 1)
if claimed.err then redis.call('XGROUP', 'CREATE', queue, group, '0') end
if claimed.err or not claimed[2][1] then
  redis.call('XREADGROUP', 'GROUP', group, 'writer', 'COUNT', 1, 'STREAMS', queue, '>')
end
local pending = redis.call('XPENDING', queue, group, '-', '+', 1)[1]
if not pending then return {2, length} end
local fields = redis.call('XRANGE', queue, pending[1], pending[1])[1][2]
return {1, length, pending[4], pending[1], fields[2], fields[4], fields[6], fields[8]}
