-- cache/get.lua: return a cached envelope, or the permit to store one, which the callers who miss it share.
--
-- A permit is gone once its key was invalidated: so what was loaded before that is not stored after it. Each caller
-- notes the state of the clock at its own miss; cache/set.lua compares that with the marks of tags and of everything.
-- A permit names its token and the sequence of its grant, so that a late copy of the call brings none back.
-- While an invalidation keeps loads out of the cache there is no permit, nor for a caller that will store nothing.
-- A lost clock begins again with a new epoch.
--
-- KEYS[1]  entry       string; the cached envelope
-- KEYS[2]  lease       string; the token of a load of the entry, or a hold
-- KEYS[3]  permit      string; the token of the permit, and the sequence of its grant
-- KEYS[4]  clock_key   hash; e epoch, s sequence, x latest expiry, w, c the sweep, t:<tag> marks, n:<cause> counts
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  token       text, 24 hex digits, never used before; a lost clock takes some of them for its epoch
-- ARGV[4]  permit_ms   integer >= 0; how long the permit lives from now; 0 means none
-- returns  {1 hit, now_ms, envelope}, or {2 miss | 3 miss without a permit, now_ms, sequence, cause: 1 absent,
--          2 invalidated, 3 epoch, 4 unusable, epoch, the permit or empty}
-- expires  permit after permit_ms; the clock never
-- cost     O(tags), 2..8 commands, 3..4 more if a sweep is due
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/envelope_cause.lua
--#include lib/envelope_status.lua

local entry, lease, permit, clock_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now_ms = clock(tonumber(ARGV[1]))
local primary, token, permit_ms = string.format('%-16.16s', ARGV[2]), ARGV[3], tonumber(ARGV[4])

local envelope = redis.call('GET', entry)
local cause, epoch, sequence, due_ms = envelope_status(envelope, clock_key, primary, now_ms)
local is_hold = cause ~= 'hit' and string.sub(redis.call('GET', lease) or '', 1, 1) == 'H'
local shared = cause ~= 'hit' and redis.call('GET', permit)

redis.call('HINCRBY', clock_key, 'n:' .. cause, 1)
if cause == 'hit' and not (due_ms and due_ms <= now_ms) then
  return {1, now_ms, envelope}
end

-- Most hits end before these functions, because to define them costs 1 us of their 8.
--#include lib/cause_number.lua
--#include lib/is_ahead.lua
--#include lib/keep_marks.lua
--#include lib/begin_clock.lua
--#include lib/sweep_marks.lua
sweep_marks(clock_key, due_ms, now_ms)
if cause == 'hit' then return {1, now_ms, envelope} end
epoch = epoch or begin_clock(clock_key, token, now_ms)
if permit_ms > 0 then keep_marks(clock_key, now_ms + permit_ms, now_ms) end
if is_hold or permit_ms == 0 then return {3, now_ms, sequence, cause_number(cause), epoch .. primary, ''} end
shared = shared or token .. string.format('%012d', sequence)
redis.call('SET', permit, shared, 'PX', permit_ms)
return {2, now_ms, sequence, cause_number(cause), epoch .. primary, shared}
