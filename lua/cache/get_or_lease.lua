-- cache/get_or_lease.lua: return a cached envelope, or grant the lease to load it; if another holds it, write nothing.
--
-- A lost clock begins again with a new epoch, so that everything cached before is ignored.
-- A second run with the same token grants the lease to the same holder again. A lease names its token and sequence, so
-- that a copy of a call that arrives after an invalidation does not bring back the lease which that has ended. A process
-- takes over the lease of a caller of its own that gave up: a fill that was sent with the first is then refused.
-- While an invalidation keeps loads out of the cache, everyone may load: a hold is a lease for all, and stores nothing.
--
-- KEYS[1]  entry       string; the cached envelope
-- KEYS[2]  lease       string; the token of the load of the entry and 12 digits, or a hold: H and 12 digits
-- KEYS[3]  clock_key   hash; e epoch, s sequence, x latest expiry, w, c the sweep, t:* and t:<tag> marks, n:<cause> counts
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  token       text, 24 hex digits, never used before; a lost clock takes some of them for its epoch
-- ARGV[4]  lease_ms    integer >= 1; how long the lease lives unless renewed
-- ARGV[5]  abandoned   text; the content of a lease that its holder does not use any more, or empty
-- ARGV[6]  ttl_ms      integer >= 0; the lifetime of what is to be loaded: marks are kept for as long, or for a minute
-- returns  {1 hit, now_ms, envelope}, or {2 leased | 3 busy | 4 hold, now_ms, sequence, lease_left_ms if busy, else the
--          cause: 1 absent, 2 invalidated, 3 epoch, 4 unusable, epoch, the content of the lease}
-- expires  lease after lease_ms; the clock never
-- cost     O(tags), 2..6 commands, 3..4 more if a sweep is due
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/envelope_cause.lua
--#include lib/envelope_status.lua

local entry, lease, clock_key = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local primary, token, lease_ms = string.format('%-16.16s', ARGV[2]), ARGV[3], tonumber(ARGV[4])
local abandoned, ttl_ms = ARGV[5], tonumber(ARGV[6])

local envelope = redis.call('GET', entry)
local cause, epoch, sequence, due_ms = envelope_status(envelope, clock_key, primary, now_ms)
local holder = cause ~= 'hit' and redis.call('GET', lease)
local is_hold = holder and string.sub(holder, 1, 1) == 'H'
local is_own = holder and string.sub(holder, 1, 24) == token

if holder and not is_hold and not is_own and holder ~= abandoned then
  return {3, now_ms, sequence, redis.call('PTTL', lease), '', holder}
end

redis.call('HINCRBY', clock_key, 'n:' .. cause, 1)
if cause == 'hit' and not (due_ms and due_ms <= now_ms) then
  return {1, now_ms, envelope}
end

-- Most hits end before these functions, because to define them costs 1 us of their 9.
--#include lib/cause_number.lua
--#include lib/is_ahead.lua
--#include lib/keep_marks.lua
--#include lib/begin_clock.lua
--#include lib/sweep_marks.lua
sweep_marks(clock_key, due_ms, now_ms)
if cause == 'hit' then
  return {1, now_ms, envelope}
end
epoch = epoch or begin_clock(clock_key, token, now_ms)
keep_marks(clock_key, now_ms + math.max(ttl_ms, 60000), now_ms)
if is_hold then return {4, now_ms, sequence, cause_number(cause), epoch .. primary, holder} end
if is_own then
  sequence = math.min(sequence, tonumber(string.sub(holder, 25)))
else
  holder = token .. string.format('%012d', sequence)
end
redis.call('SET', lease, holder, 'PX', lease_ms)
return {2, now_ms, sequence, cause_number(cause), epoch .. primary, holder}
