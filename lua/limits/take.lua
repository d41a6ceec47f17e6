-- limits/take.lua: take units of many keys, each decided on its own; a refused take writes nothing.
--
-- KEYS[i]  state       string; every window of one key and policy; 1..256 takes; equal keys are taken from in order
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  policies    integer 1..256, how many policies follow
-- ARGV[3..]            per policy: its algorithm (sliding-window, sliding-window-counter, sliding-log, fixed-window or
--                      gcra), its windows 1..8, and for each of them its limit 1..10^9, window_ms 1000..2^35, and its
--                      parameter: resolution 1..120 for sliding-window, burst 1..10^9 for gcra, 0 for the others;
--                      then per take: the number of its policy, and its cost 0..10^9; 0 only looks. One such pair
--                      alone is that of all takes, no two of one key
-- returns  {foreign values, counters and holds ignored, then per take: the window that refused or 0, retry_after_ms or
--          -1 for never, and for each of its windows remaining, reset_after_ms; or in place of these, if the policy
--          has one window, which admits, and a double holds it: -(remaining * 2 * (window_ms + 1) + reset_after_ms)}
-- expires  state: a second after the last window is wholly restored; gcra keeps one that refuses as long
-- cost     per take O(windows), O(windows * resolution) if a slot ends or it is refused; 1..4 commands
-- idempotent no
-- flags    allow-oom
-- twin     limits/algorithms/evaluate.py: take
--#include lib/now.lua
--#include lib/limit_window.lua
--#include lib/limit_plan.lua

local now_ms, policies = clock(tonumber(ARGV[1])), tonumber(ARGV[2])

-- Functions are defined only when a take needs them: defining these costs more than deciding a common take.
local function later_slot()
--#include lib/limit_later_slot.lua
  return limit_later_slot
end
local function uncommon()
--#include lib/limit_state.lua
--#include lib/limit_state_window.lua
--#include lib/limit_state_entry.lua
--#include lib/limit_advance.lua
local function others()
--#include lib/share.lua
--#include lib/limit_admits_at.lua
local function rare()
--#include lib/limit_holds.lua
--#include lib/limit_read.lua
--#include lib/limit_drain.lua
--#include lib/limit_usage.lua
--#include lib/limit_current.lua
--#include lib/limit_windows.lua
--#include lib/limit_wait.lua
--#include lib/limit_decision.lua
--#include lib/limit_discard.lua
--#include lib/limit_charge.lua
--#include lib/limit_statuses.lua
--#include lib/limit_retain.lua
--#include lib/limit_take.lua
  return limit_take
end
  return limit_admits_at, rare
end
--#include lib/limit_roll.lua
local function metered(algorithm)
--#include lib/limit_gcra.lua
--#include lib/limit_counter.lua
  return algorithm == 'gcra' and limit_gcra or limit_counter
end
--#include lib/limit_uncommon.lua
  return limit_uncommon
end

--#include lib/limit_batch.lua

local plans, at = {}, 3
for policy = 1, policies do plans[policy], at = limit_plan(ARGV, at, now_ms) end
return limit_batch(KEYS, ARGV, plans, at, now_ms)
