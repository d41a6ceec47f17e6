-- cache/lease_early.lua: grant the lease to load an entry before it ends; unless that is due, write nothing.
--
-- It is due if the entry is gone, or ends soon and was read since it was stored. The entry stays until the load is stored,
-- and readers find it meanwhile. Under a hold nothing is granted. These look-ups are not counted.
-- A second run with the same token grants the lease to the same holder again, as cache/get_or_lease.lua does.
--
-- KEYS[1]  entry       string; the cached envelope
-- KEYS[2]  lease       string; the token of the load of the entry and 12 digits, or a hold
-- KEYS[3]  clock_key   hash; e epoch, s sequence, x latest expiry, t:* and t:<tag> marks
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  token       text, 24 hex digits, never used before; a lost clock takes some of them for its epoch
-- ARGV[4]  lease_ms    integer >= 1; how long the lease lives unless renewed
-- ARGV[5]  ttl_ms      integer >= 0; the lifetime of what is to be loaded: marks are kept for as long, or for a minute
-- ARGV[6]  early_ms    integer >= 0; how long before its end an entry is loaded anew
-- ARGV[7]  unread_ms   integer >= 0; how long ago the caller read it last
-- returns  {1 leased | 0 nothing to do, now_ms, sequence, epoch, content of the lease}
-- expires  lease after lease_ms; the clock never
-- cost     O(tags), 3..6 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/envelope_cause.lua
--#include lib/envelope_status.lua
--#include lib/is_ahead.lua
--#include lib/keep_marks.lua
--#include lib/begin_clock.lua

local entry, lease, clock_key = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local primary, token, lease_ms = string.format('%-16.16s', ARGV[2]), ARGV[3], tonumber(ARGV[4])
local ttl_ms, early_ms, unread_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local envelope = redis.call('GET', entry) or ''
local holder = redis.call('GET', lease)
local cause, epoch, sequence = envelope_status(envelope, clock_key, primary, now_ms)
local is_own = holder and string.sub(holder, 1, 24) == token

local is_due = cause ~= 'hit'
if not is_due then
  local stored_ms, fresh_until_ms = tonumber(string.sub(envelope, 3, 15)), tonumber(string.sub(envelope, 16, 28))
  is_due = fresh_until_ms - now_ms <= early_ms and now_ms - stored_ms >= unread_ms
end
if not is_due or (holder and not is_own) then return {0, now_ms, sequence, '', ''} end

epoch = epoch or begin_clock(clock_key, token, now_ms)
keep_marks(clock_key, now_ms + math.max(ttl_ms, 60000), now_ms)
if is_own then
  sequence = math.min(sequence, tonumber(string.sub(holder, 25)))
else
  holder = token .. string.format('%012d', sequence)
end
redis.call('SET', lease, holder, 'PX', lease_ms)
return {1, now_ms, sequence, epoch .. primary, holder}
