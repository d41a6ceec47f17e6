-- limits/take_up_to.lua: take as many units of one key as fit, up to a number; if none fits, nothing is written.
--
-- KEYS[1]  state       string; every window of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  most        integer 0..10^9; how many are requested
-- ARGV[3]  algorithm   text; one of those of limits/take
-- ARGV[4..]            per window, up to 8, three numbers as in limits/take
-- returns  {foreign values, counters and holds ignored, units taken, the window that refuses even one or 0,
--          retry_after_ms of one unit, then for each window remaining, reset_after_ms}
-- expires  state: a second after the last window is wholly restored; gcra keeps one that refuses as long
-- cost     O(windows * resolution), 2..3 commands
-- idempotent no
-- flags    allow-oom
-- twin     limits/algorithms/evaluate.py: take_up_to
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

local state = KEYS[1]
local now_ms = clock(tonumber(ARGV[1]))
local most, algorithm = tonumber(ARGV[2]), ARGV[3]

local plan = {algorithm = algorithm, windows = (#ARGV - 3) / 3, args = ARGV, at = 4}
local stored, foreign = limit_state(state)
local windows, holds = limit_windows(plan, stored, now_ms)

local refused_by, retry_after_ms = limit_decision(windows, holds, math.min(most, 1), now_ms)
local discarded, granted = limit_discard(windows, holds), refused_by == 0 and most or 0
for w = 1, #windows do
  granted = math.max(math.min(granted, windows[w].capacity - windows[w].usage - holds.units), 0)
end
local charged = granted > 0 and limit_charge(windows, granted, holds.text)
local reply = {foreign, discarded, granted, refused_by, retry_after_ms}
local lifetime_ms = limit_statuses(windows, holds, now_ms, reply, 5)

if charged then redis.call('SET', state, charged, 'PX', lifetime_ms) end
limit_retain(state, windows, retry_after_ms, lifetime_ms)
return reply
