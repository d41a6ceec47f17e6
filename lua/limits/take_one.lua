-- limits/take_one.lua: take units of one key under sliding-window or fixed-window; a refused take writes nothing.
--
-- KEYS[1]  state       string; every window of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  cost        integer 0..10^9; 0 only looks
-- ARGV[3]  head        text, 9..300 characters; what its state begins with if a take may be common (lib/limit_state.lua)
-- ARGV[4..]            per window, 1..8, three numbers as in limits/take; the third is 0 for fixed-window
-- returns  -(remaining * 2 * (window_ms + 1) + reset_after_ms) as in limits/take, if one window admits it by a usual text;
--          else {foreign values, counters and holds ignored, then of the take the other form that limits/take returns}
-- expires  state: a second after the last window is wholly restored
-- cost     O(windows), O(windows * resolution) if a slot ends or it is refused; 1..5 commands
-- idempotent no
-- flags    allow-oom
-- twin     limits/algorithms/evaluate.py: take
--#include lib/now.lua

local state, now_ms, cost, head, windows = KEYS[1], clock(ARGV[1] + 0), ARGV[2] + 0, ARGV[3], (#ARGV - 3) / 3
local decides, common, text, is_later, metered = false, nil, nil, false, nil

if windows == 1 then
--#include lib/limit_alone.lua
  decides, common, text, is_later = pcall(limit_alone, state, cost, head, ARGV, now_ms)
else
--#include lib/limit_alone_windows.lua
  decides, common, text, is_later = pcall(limit_alone_windows, state, cost, head, ARGV, windows, now_ms)
end
if decides and is_later then
--#include lib/limit_later_slot.lua
--#include lib/limit_alone_later.lua
  common = limit_alone_later(state, cost, head, ARGV, windows, now_ms, text, limit_later_slot)
end
if not decides then text = redis.pcall('GET', state) elseif common then return common end
-- A common take, as nearly all are, ends before these functions: making them costs as much as deciding.
--#include lib/limit_window.lua
--#include lib/limit_plan.lua
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
--#include lib/limit_uncommon.lua
  return limit_uncommon
end

local algorithm = head:find('fixed-window', 5, true) and 'fixed-window' or 'sliding-window'
local plan, reply = limit_plan({algorithm, windows, unpack(ARGV, 4)}, 1, now_ms), {0, 0, 0, 0, 0, 0}
uncommon()(state, plan, type(text) == 'string' and text, cost, now_ms, reply, 2)
return reply
