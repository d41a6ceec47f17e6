-- cache/fill.lua: store what was loaded and end its lease; write nothing if a read would refuse it by now.
--
-- It would if the lease is lost, if a tag, the key or everything was invalidated since it was granted, if the clock was
-- lost, or if another primary serves. So a reader that waited for an accepted value may use it, however late it came.
-- It is refused, too, if it took longer than such invalidations are kept. Nothing is loaded under a hold to be stored.
--
-- KEYS[1]  entry       string; the cached envelope
-- KEYS[2]  lease       string; the token of the load of the entry and the sequence at its grant, or a hold
-- KEYS[3]  clock_key   hash; e epoch, s sequence, x latest expiry, t:*, t:? and t:<tag> marks
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  token       text; the content of the lease when it was granted
-- ARGV[4]  keep_ms     integer >= 1; how long the entry is kept
-- ARGV[5]  envelope       text; as cache/envelope.py writes it, with the epoch and sequence of the lease
-- returns  {1 accepted | 0 refused}
-- expires  entry after keep_ms
-- cost     O(tags), 3..8 commands
-- idempotent no
-- flags    none
--#include lib/now.lua
--#include lib/envelope_cause.lua
--#include lib/envelope_status.lua
--#include lib/is_ahead.lua
--#include lib/keep_marks.lua
--#include lib/storable.lua
--#include lib/store_entry.lua

local entry, lease, clock_key = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local primary, token = string.format('%-16.16s', ARGV[2]), ARGV[3]
local keep_ms, envelope = tonumber(ARGV[4]), ARGV[5]

local holder = redis.call('GET', lease)
local is_storable, sequence = storable(envelope, clock_key, primary, now_ms)

if holder ~= token or not is_storable then return {0} end

store_entry(entry, envelope, keep_ms, clock_key, sequence, now_ms)
redis.call('DEL', lease)
return {1}
