-- limits/lease_quota.lua: take units of one key, and more of them for a lease; a refusal charges nothing.
--
-- A lease is charged in the present sub-bucket, and used until that ends. What is left of a former one comes back
-- first, to its own: announced if a take of as many would have been refused. A cost of 0 takes and leases nothing.
--
-- KEYS[1]  state       string; every window of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  cost        integer 0..10^9; the units of the take itself
-- ARGV[3]  per_second  integer 0..10^9; the units that the caller expects to take in a second
-- ARGV[4]  longest_ms  integer >= 0; how long a lease lasts at most
-- ARGV[5]  parts       integer >= 1; a lease has at most one part in so many of what remains
-- ARGV[6]  least       integer >= 1; a lease of fewer units is not granted
-- ARGV[7]  left        integer 0..10^9; what is left of a former lease
-- ARGV[8]  charged_ms  integer >= 0; when the former lease was charged, by the server's clock
-- ARGV[9]  channel     text; gets the time in ms and the name of the key
-- ARGV[10] algorithm   text; sliding-window
-- ARGV[11..]           per window, up to 8, three numbers as in limits/take
-- returns  {foreign values, counters and holds ignored, units back, units leased, now in ms, its ms; as in limits/take}
-- expires  state: a second after the last window is wholly restored
-- cost     O(windows * resolution), 3 commands
-- idempotent no
-- flags    allow-oom
-- twin     limits/algorithms/quota.py: lease_quota
--#include lib/now.lua
--#include lib/share.lua
--#include lib/limit_state.lua
--#include lib/limit_state_window.lua
--#include lib/limit_window.lua
--#include lib/limit_holds.lua
--#include lib/limit_read.lua
--#include lib/limit_drain.lua
--#include lib/limit_usage.lua
--#include lib/limit_advance.lua
--#include lib/limit_current.lua
--#include lib/limit_windows.lua
--#include lib/limit_admits_at.lua
--#include lib/limit_wait.lua
--#include lib/limit_decision.lua
--#include lib/limit_discard.lua
--#include lib/limit_return.lua
--#include lib/limit_room.lua
--#include lib/limit_state_entry.lua
--#include lib/limit_charge.lua
--#include lib/limit_statuses.lua
--#include lib/limit_keep.lua
--#include lib/announce.lua

local state, cost, channel, algorithm = KEYS[1], tonumber(ARGV[2]), ARGV[9], ARGV[10]
local now_ms, per_second, longest_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[3]), tonumber(ARGV[4])
local parts, least, left, charged_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

local plan = {algorithm = algorithm, windows = (#ARGV - 10) / 3, args = ARGV, at = 11}
local stored, foreign = limit_state(state)
local windows, holds = limit_windows(plan, stored, now_ms)

local is_missed, back = left > 0 and limit_decision(windows, holds, left, now_ms) > 0, 0
local discarded = limit_discard(windows, holds)
for w = 1, left > 0 and #windows or 0 do back = math.max(back, limit_return(windows[w], left, charged_ms)) end
local refused_by, retry_after_ms = limit_decision(windows, holds, cost, now_ms)
local room, lasts_ms = limit_room(windows, holds.units, cost, now_ms, longest_ms)
local leased = math.min(math.floor(room / parts), math.floor(per_second * lasts_ms / 1000))
if refused_by ~= 0 or cost == 0 or leased < least then leased = 0 end
local charged = leased + (refused_by == 0 and cost or 0)
local value = limit_charge(windows, charged, holds.text)
local reply = {foreign, discarded, back, leased, now_ms, lasts_ms, refused_by, retry_after_ms}
local lifetime_ms = limit_statuses(windows, holds, now_ms, reply, 8)

if charged + back > 0 then limit_keep(state, value, lifetime_ms) end
if back > 0 and is_missed then announce(channel, now_ms, state) end
return reply
