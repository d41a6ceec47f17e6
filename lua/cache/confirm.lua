-- cache/confirm.lua: end the lease of what is not stored, and say whether a fill would have been accepted.
--
-- A server that is full refuses fills and runs this. A reader that waited for a value that is confirmed may use it. An
-- entry that was loaded anew is removed, because it is older. What was loaded under a hold is confirmed while that is the
-- same one, and the hold and the entry stay.
--
-- KEYS[1]  entry       string; the cached envelope
-- KEYS[2]  lease       string; the token of the load of the entry and the sequence at its grant, or a hold
-- KEYS[3]  clock_key   hash; e epoch, s sequence, t:*, t:? and t:<tag> marks
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  token       text; the content of the lease when it was granted, or of the hold
-- ARGV[4]  envelope       text; its header, as cache/envelope.py writes it, with the epoch and sequence of the lease
-- returns  {1 accepted | 0 refused}
-- expires  nothing is written
-- cost     O(tags), 2..5 commands
-- idempotent no
-- flags    allow-oom
--#include lib/now.lua
--#include lib/envelope_cause.lua
--#include lib/envelope_status.lua
--#include lib/storable.lua

local entry, lease, clock_key = KEYS[1], KEYS[2], KEYS[3]
local now_ms = clock(tonumber(ARGV[1]))
local primary, token, envelope = string.format('%-16.16s', ARGV[2]), ARGV[3], ARGV[4]

local holder = redis.call('GET', lease)
local is_storable = storable(envelope, clock_key, primary, now_ms)

if holder ~= token or not is_storable then return {0} end

if string.sub(token, 1, 1) ~= 'H' then redis.call('UNLINK', entry, lease) end
return {1}
