-- cache/write.lua: store what was written to its source and end its lease; remove the entry if another may be newer.
--
-- It cannot if the lease is lost: another caller wrote, loaded or invalidated since. Nor if the clock or the primary
-- changed, or under a hold. Loads in progress and permits are refused either way, because they may have read the source
-- before the write. A hold stays.
--
-- KEYS[1]  entry       string; the cached envelope
-- KEYS[2]  lease       string; the token of the write of the entry and the sequence at its grant, or a hold
-- KEYS[3]  permit      string; as cache/get.lua writes it
-- KEYS[4]  clock_key   hash; e epoch, s sequence, x latest expiry, t:*, t:? and t:<tag> marks
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  token       text; the content of the lease when it was granted
-- ARGV[4]  keep_ms     integer >= 1; how long the entry is kept
-- ARGV[5]  envelope    text; as cache/envelope.py writes it, with the epoch and sequence of the lease
-- returns  {1 stored | 0 removed}
-- expires  entry after keep_ms
-- cost     O(tags), 6..9 commands
-- idempotent no
-- flags    none
--#include lib/now.lua
--#include lib/envelope_cause.lua
--#include lib/envelope_status.lua
--#include lib/is_ahead.lua
--#include lib/keep_marks.lua
--#include lib/storable.lua
--#include lib/store_entry.lua

local entry, lease, permit, clock_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now_ms = clock(tonumber(ARGV[1]))
local primary, token = string.format('%-16.16s', ARGV[2]), ARGV[3]
local keep_ms, envelope = tonumber(ARGV[4]), ARGV[5]

local holder = redis.call('GET', lease) or ''
local is_hold = string.sub(holder, 1, 1) == 'H'
local is_storable = storable(envelope, clock_key, primary, now_ms)
local is_latest = holder == token and not is_hold and is_storable

-- Leases and permits name their sequence, so that a late copy of a call does not bring back one that ends here.
local sequence = redis.call('HINCRBY', clock_key, 's', 1)
redis.call('DEL', permit)
if not is_hold then redis.call('DEL', lease) end
if is_latest then
  store_entry(entry, envelope, keep_ms, clock_key, sequence, now_ms)
  return {1}
end
redis.call('UNLINK', entry)
return {0}
