-- cache/take_lease.lua: grant the lease to load an entry anew, though it is valid, or though another loads it.
--
-- The entry stays until the load is stored. A load under the lease before is not stored any more.
-- A lost clock begins again with a new epoch, so that everything cached before is ignored. A hold stays.
-- A second run with the same token grants the lease to the same holder again, as cache/get_or_lease.lua does.
--
-- KEYS[1]  lease       string; the token of the load of the entry and 12 digits, or a hold: H and 12 digits
-- KEYS[2]  clock_key   hash; e epoch, s sequence, x latest expiry
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  token       text, 24 hex digits, never used before; a lost clock takes some of them for its epoch
-- ARGV[4]  lease_ms    integer >= 1; how long the lease lives unless renewed
-- ARGV[5]  ttl_ms      integer >= 0; the lifetime of what is to be loaded: marks are kept for as long, or for a minute
-- returns  {now_ms, sequence, epoch, content of the lease or of the hold}
-- expires  lease after lease_ms; the clock never
-- cost     O(1), 3..6 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/is_ahead.lua
--#include lib/keep_marks.lua
--#include lib/begin_clock.lua

local lease, clock_key = KEYS[1], KEYS[2]
local now_ms = clock(tonumber(ARGV[1]))
local primary, token, lease_ms = string.format('%-16.16s', ARGV[2]), ARGV[3], tonumber(ARGV[4])
local ttl_ms = tonumber(ARGV[5])

local holder = redis.call('GET', lease)
local state = redis.call('HMGET', clock_key, 'e', 's')
local epoch, sequence = state[1], tonumber(state[2] or 0)

epoch = epoch or begin_clock(clock_key, token, now_ms)
keep_marks(clock_key, now_ms + math.max(ttl_ms, 60000), now_ms)
if holder and string.sub(holder, 1, 1) == 'H' then return {now_ms, sequence, epoch .. primary, holder} end
if holder and string.sub(holder, 1, 24) == token then
  sequence = math.min(sequence, tonumber(string.sub(holder, 25)))
else
  holder = token .. string.format('%012d', sequence)
end
redis.call('SET', lease, holder, 'PX', lease_ms)
return {now_ms, sequence, epoch .. primary, holder}
