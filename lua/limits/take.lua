-- limits/take.lua: take units of many subjects, each decided on its own; a refused take writes nothing.
--
-- KEYS[i]  state       string; every window of one subject and policy; 1..256 takes; equal keys are taken from in order
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  policies    integer 1..256, how many policies follow
-- ARGV[3..]            per policy: its algorithm, its windows 1..8, and for each of them its limit 1..10^9,
--                      window_ms 1000..2^35 and resolution 1..120;
--                      then per take: the number of its policy, and its cost 0..10^9, where 0 looks
-- returns  {foreign values, entries not believed, then per take: the window that refused or 0, retry_after_ms or
--          -1 for never, and for each of its windows remaining, reset_after_ms}
-- expires  state: when the last window is wholly restored, or up to one sub-bucket later
-- cost     per take O(windows), O(windows * resolution) where a sub-bucket ends or it is refused; 2 commands
-- idempotent no
-- flags    allow-oom
-- twin     limits/windows.py: take
--#include lib/now.lua
--#include lib/limit_window.lua
--#include lib/limit_state.lua
--#include lib/sliding_window.lua
--#include lib/sliding_fits.lua
--#include lib/limit_decision.lua
--#include lib/limit_charge.lua
--#include lib/limit_standing.lua

local now_ms = clock(tonumber(ARGV[1]))
local policies = tonumber(ARGV[2])

local windows_of, at = {}, 4
for policy = 1, policies do
  local windows = {}
  for w = 1, tonumber(ARGV[at]) do
    windows[w] = limit_window(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], now_ms)
    at = at + 3
  end
  windows_of[policy], at = windows, at + 2
end
at = at - 1
local states, reply = {}, {0, 0}
for i = 1, #KEYS do
  if not states[KEYS[i]] then
    local state, foreign = limit_state(KEYS[i])
    states[KEYS[i]], reply[1] = state, reply[1] + foreign
  end
end

local lifetimes, size = {}, 2
for i = 1, #KEYS do
  local key, windows, cost = KEYS[i], windows_of[tonumber(ARGV[at])], tonumber(ARGV[at + 1])
  local refused_by, retry_after_ms, unbelieved = limit_decision(windows, states[key], cost, now_ms)
  if refused_by == 0 and cost > 0 then states[key], lifetimes[key] = limit_charge(windows, cost) end
  reply[2], reply[size + 1], reply[size + 2] = reply[2] + unbelieved, refused_by, retry_after_ms
  at, size = at + 2, size + 2
  for w = 1, #windows do
    reply[size + 1], reply[size + 2] = limit_standing(windows[w], now_ms)
    size = size + 2
  end
end

for key, lifetime_ms in pairs(lifetimes) do redis.call('SET', key, states[key], 'PX', lifetime_ms) end
return reply
