-- limits/take_all.lua: take units of many keys, all or none; if one is refused, nothing is written.
--
-- KEYS[i]  state       string; every window of one key and policy; 1..64 takes, no two of one key
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  policies    integer 1..64, how many policies follow
-- ARGV[3..]            policies and takes, as in limits/take
-- returns  {foreign values, counters and holds ignored, the wait of all: 0 if they are charged, -1 for never; then per
--          take, as if it were alone, what limits/take returns of it}
-- expires  state: a second after the last window is wholly restored; gcra keeps one that refuses as long
-- cost     per take O(windows * resolution), 2..3 commands
-- idempotent no
-- flags    allow-oom
-- twin     limits/algorithms/take_all.py: take_all
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

local now_ms, policies = clock(tonumber(ARGV[1])), tonumber(ARGV[2])

local places, at = {}, 3
for policy = 1, policies do places[policy], at = at, at + 2 + 3 * ARGV[at + 1] end
local windows, holds, costs, reply = {}, {}, {}, {0, 0, 0}
for i = 1, #KEYS do
  local place = places[ARGV[at + 2 * i - 2] + 0]
  local plan = {algorithm = ARGV[place], windows = ARGV[place + 1] + 0, args = ARGV, at = place + 2}
  local state, foreign = limit_state(KEYS[i])
  windows[i], holds[i] = limit_windows(plan, state, now_ms)
  costs[i], reply[1] = ARGV[at + 2 * i - 1] + 0, reply[1] + foreign
end

local refused_by, waits, wait_ms, before_ms, never = {}, {}, 0, -1, false
for i = 1, #KEYS do
  refused_by[i], waits[i] = limit_decision(windows[i], holds[i], costs[i], now_ms)
  never = never or waits[i] < 0
end
while wait_ms > before_ms and not never do
  before_ms = wait_ms
  for i = 1, #KEYS do
    if costs[i] > 0 then wait_ms = select(2, limit_wait(windows[i], holds[i], costs[i], now_ms, wait_ms)) end
  end
end
reply[3] = never and -1 or wait_ms
local states, lifetimes = {}, {}
for i = 1, #KEYS do
  reply[2] = reply[2] + limit_discard(windows[i], holds[i])
  if reply[3] == 0 and costs[i] > 0 then states[i] = limit_charge(windows[i], costs[i], holds[i].text) end
  reply[#reply + 1], reply[#reply + 2] = refused_by[i], waits[i]
  lifetimes[i] = limit_statuses(windows[i], holds[i], now_ms, reply, #reply)
end

for i, state in pairs(states) do redis.call('SET', KEYS[i], state, 'PX', lifetimes[i]) end
for i = 1, #KEYS do limit_retain(KEYS[i], windows[i], waits[i], lifetimes[i]) end
return reply
