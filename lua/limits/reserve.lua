-- limits/reserve.lua: set units of one key aside until they are settled or expire; a refusal writes nothing.
--
-- Held units count as taken. A second run finds its own hold and adds none.
--
-- KEYS[1]  state       string; every window of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  id          text, 1..64 of a-z, A-Z, 0-9, _ and -; never used before
-- ARGV[3]  estimate    integer 0..10^9; units to hold
-- ARGV[4]  held_ms     integer 1..2^35; for how long at most
-- ARGV[5]  algorithm   text; one of those of limits/take
-- ARGV[6..]            per window, up to 8, three numbers as in limits/take
-- returns  {foreign values, counters and holds ignored, the window that refuses, 0 for none, -1 if there are 128 holds,
--          retry_after_ms or -1 for never, then for each window remaining, reset_after_ms}
-- expires  state: a second after the last window is wholly restored and no hold is left; gcra keeps one that refuses
--          as long
-- cost     O(windows * resolution + holds), 2..3 commands
-- idempotent yes
-- flags    allow-oom
-- twin     limits/algorithms/evaluate.py: reserve
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
--#include lib/limit_state_entry.lua
--#include lib/limit_charge.lua
--#include lib/limit_statuses.lua
--#include lib/limit_retain.lua

local state, id, algorithm = KEYS[1], ARGV[2], ARGV[5]
local now_ms = clock(tonumber(ARGV[1]))
local estimate, held_ms = tonumber(ARGV[3]), tonumber(ARGV[4])

local plan = {algorithm = algorithm, windows = (#ARGV - 5) / 3, args = ARGV, at = 6}
local stored, foreign = limit_state(state)
local windows, holds = limit_windows(plan, stored, now_ms)
local known, first_ms = false, holds.last_ms
for _, hold in ipairs(holds) do
  if hold.counts then known, first_ms = known or hold.name == id, math.min(first_ms, hold.ends_ms) end
end

local refused_by, retry_after_ms, charged = 0, 0, nil
if not known then refused_by, retry_after_ms = limit_decision(windows, holds, estimate, now_ms) end
if not known and holds.number >= 128 and retry_after_ms >= 0 then
  refused_by, retry_after_ms = -1, select(2, limit_wait(windows, holds, estimate, now_ms, first_ms - now_ms))
end
local discarded = limit_discard(windows, holds)
if not known and refused_by == 0 then
  charged = limit_charge(windows, 0, string.format('%shold/%s=%d,%d,%d;', holds.text, id, estimate, now_ms, held_ms))
  holds.units, holds.last_ms = holds.units + estimate, math.max(holds.last_ms, now_ms + held_ms)
end
local reply = {foreign, discarded, refused_by, retry_after_ms}
local lifetime_ms = limit_statuses(windows, holds, now_ms, reply, 4)

if charged then redis.call('SET', state, charged, 'PX', lifetime_ms) end
limit_retain(state, windows, retry_after_ms, lifetime_ms)
return reply
