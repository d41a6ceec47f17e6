-- cache/take_permit.lua: remove an entry that its caller is about to replace, and grant the permit to store another.
--
-- What is being loaded and every other permit is refused from now on. The call that stores the value may arrive late: it
-- is refused if the key was invalidated or replaced meanwhile. A hold stays.
-- A permit names its token and the sequence of its grant. A lost clock begins again with a new epoch.
--
-- KEYS[1]  entry       string; the cached envelope
-- KEYS[2]  lease       string; the token of a load of the entry, or a hold
-- KEYS[3]  permit      string; as cache/get.lua writes it
-- KEYS[4]  clock_key   hash; e epoch, s sequence, x latest expiry
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- ARGV[3]  token       text, 24 hex digits, never used before; a lost clock takes some of them for its epoch
-- ARGV[4]  permit_ms   integer >= 1; how long the permit lives from now
-- returns  {now_ms, sequence, epoch, permit}
-- expires  permit after permit_ms; the clock never
-- cost     O(1), 7..9 commands
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/is_ahead.lua
--#include lib/keep_marks.lua
--#include lib/begin_clock.lua

local entry, lease, permit, clock_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now_ms = clock(tonumber(ARGV[1]))
local primary, token, permit_ms = string.format('%-16.16s', ARGV[2]), ARGV[3], tonumber(ARGV[4])

local is_hold = string.sub(redis.call('GET', lease) or '', 1, 1) == 'H'
local epoch = redis.call('HGET', clock_key, 'e')

local sequence = redis.call('HINCRBY', clock_key, 's', 1)
local granted = token .. string.format('%012d', sequence)
epoch = epoch or begin_clock(clock_key, token, now_ms)
keep_marks(clock_key, now_ms + permit_ms, now_ms)
redis.call('UNLINK', entry)
if not is_hold then redis.call('DEL', lease) end
redis.call('SET', permit, granted, 'PX', permit_ms)
return {now_ms, sequence, epoch .. primary, granted}
