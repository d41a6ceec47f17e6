-- limits/take.lua: take units of many keys, each decided on its own; a refused take writes nothing.
--
-- KEYS[i]  state       string; every window of one key and policy; 1..256 takes; equal keys are taken from in order
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  policies    integer 1..256, how many policies follow
-- ARGV[3..]            per policy: its algorithm (sliding-window, sliding-window-counter, sliding-log, fixed-window or
--                      gcra), its windows 1..8, and for each of them its limit 1..10^9, window_ms 1000..2^35, and its
--                      parameter: resolution 1..120 for sliding-window, burst 1..10^9 for gcra, 0 for the others;
--                      then per take: the number of its policy, and its cost 0..10^9; 0 only looks
-- returns  {foreign values, counters and holds ignored, then per take: the window that refused or 0, retry_after_ms or
--          -1 for never, and for each of its windows remaining, reset_after_ms}
-- expires  state: a second after the last window is wholly restored; gcra keeps one that refuses as long
-- cost     per take O(windows), O(windows * resolution) if a slot ends or it is refused; 2..3 commands
-- idempotent no
-- flags    allow-oom
-- twin     limits/algorithms/evaluate.py: take
--#include lib/now.lua
--#include lib/limit_state.lua
--#include lib/limit_states.lua
--#include lib/limit_window.lua
--#include lib/limit_plan.lua
--#include lib/limit_advance.lua
--#include lib/limit_roll.lua
--#include lib/limit_add.lua

local now_ms, policies = clock(tonumber(ARGV[1])), tonumber(ARGV[2])

-- These functions are defined only when a take needs them: defining them costs 3 us, and a common take 17 us in all.
local function uncommon()
--#include lib/share.lua
--#include lib/limit_holds.lua
--#include lib/limit_read.lua
--#include lib/limit_drain.lua
--#include lib/limit_usage.lua
--#include lib/limit_current.lua
--#include lib/limit_windows.lua
--#include lib/limit_admits_at.lua
--#include lib/limit_wait.lua
--#include lib/limit_decision.lua
--#include lib/limit_discard.lua
--#include lib/limit_charge.lua
--#include lib/limit_statuses.lua
--#include lib/limit_retain.lua
--#include lib/limit_take.lua
  return limit_take
end

local plans, at, take = {}, 3, nil
for policy = 1, policies do
  local windows = ARGV[at + 1] + 0
  plans[policy], at = limit_plan(ARGV[at], windows, ARGV, at + 2, now_ms), at + 2 + 3 * windows
end
local states, foreign = limit_states(KEYS)

local lifetimes, size, reply = {}, 2, {foreign, 0, 0, 0, 0, 0}
for i = 1, #KEYS do
  local key, plan, cost = KEYS[i], plans[ARGV[at] + 0], ARGV[at + 1] + 0
  local state, lifetime_ms = limit_add(plan, states[key], cost, reply, size), plan.lifetime_ms
  if not state then
    take = take or uncommon()
    state, lifetime_ms = take(key, plan, states[key], cost, now_ms, reply, size)
  end
  if state then states[key], lifetimes[key] = state, lifetime_ms end
  at, size = at + 2, size + 2 + 2 * plan.windows
end

for key, lifetime_ms in pairs(lifetimes) do redis.call('SET', key, states[key], 'PX', lifetime_ms) end
return reply
