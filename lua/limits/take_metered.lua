-- limits/take_metered.lua: take units of a key under one limit of gcra or sliding-window-counter; a refusal writes nothing.
--
-- KEYS[1]  state       string; the window of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  cost        integer 0..10^9; 0 only looks
-- ARGV[3]  head        text, 14..40 characters; what its state begins with if it has no holds (lib/limit_read.lua)
-- ARGV[4]  limit       integer 1..10^9
-- ARGV[5]  window_ms   integer 1000..2^35
-- ARGV[6]  burst       integer 1..10^9 for gcra; 0 for sliding-window-counter
-- returns  -(remaining * 2 * (window_ms + 1) + reset_after_ms) as in limits/take_one, if it is charged, a double holds
--          that, and reset_after_ms is below the factor; else {foreign values, counters and holds ignored, then of the
--          take the other form that limits/take returns}
-- expires  state: a second after the window is wholly restored; gcra keeps one that refuses as long
-- cost     O(1), O(holds) if it has any; 1..5 commands
-- idempotent no
-- flags    allow-oom
-- twin     limits/algorithms/evaluate.py: take
--#include lib/now.lua

local state, now_ms, cost, head = KEYS[1], clock(ARGV[1] + 0), ARGV[2] + 0, ARGV[3]
local limit, window_ms, burst = ARGV[4] + 0, ARGV[5] + 0, ARGV[6] + 0

local value, capacity, charge = redis.pcall('GET', state), burst, nil
if burst > 0 then
--#include lib/limit_gcra.lua
  charge = limit_gcra
else
--#include lib/limit_counter.lua
  charge, capacity = limit_counter, limit
end
if type(value) ~= 'table' then
  local step = 2 * (window_ms + 1)
  local charged, left, reset_ms = charge(head, limit, window_ms, burst, value or 'TH2;', cost, now_ms)
  if charged then
    redis.call('SET', state, charged, 'PX', reset_ms + 1000)
    if reset_ms < step and capacity * step < 9007199254740992 then return -left * step - reset_ms end
    return {0, 0, 0, 0, left, reset_ms}
  end
end

-- Most takes end before these functions: making them costs as much as deciding.
--#include lib/share.lua
--#include lib/limit_state.lua
--#include lib/limit_state_window.lua
--#include lib/limit_state_entry.lua
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
--#include lib/limit_charge.lua
--#include lib/limit_statuses.lua
--#include lib/limit_retain.lua
--#include lib/limit_take.lua
local algorithm, reply = burst > 0 and 'gcra' or 'sliding-window-counter', {0, 0, 0, 0, 0, 0}
local plan = {algorithm = algorithm, windows = 1, args = {limit, string.format('%d', window_ms), burst}, at = 1}
local text, foreign = limit_state(state, type(value) == 'string' and value)
local charged, lifetime_ms = limit_take(state, plan, text, cost, now_ms, reply, 2)
if charged then redis.call('SET', state, charged, 'PX', lifetime_ms) end
reply[1] = reply[1] + foreign
return reply
