-- limits/refund.lua: return units of one key and announce it; if nothing is counted, nothing is written.
--
-- An announcement makes processes ask again about a key that was refused. Units that were taken a moment ago are missed
-- by a refusal only if they were the last: a caller that returns its own says `rarely`, and in other cases there is
-- none. The oldest units are returned first: what was really taken counts from then on as if it were newer. A window
-- that has released the units by itself gets none: the units that it counts now are those of others.
--
-- KEYS[1]  state       string; every window of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  units       integer 0..10^9
-- ARGV[3]  channel     text; gets the time in ms and the name of the key
-- ARGV[4]  rarely      1: announce only if a take of as many units would have been refused just before; 0: always
-- ARGV[5]  age_ms      integer >= 0; how long ago the units were taken
-- ARGV[6]  algorithm   text; one of those of limits/take
-- ARGV[7..]            per window, up to 8, three numbers as in limits/take
-- returns  {foreign values, counters and holds ignored, the most units that a window got back, then for each window
--          remaining, reset_after_ms}
-- expires  state: a second after the last window is wholly restored
-- cost     O(windows * resolution), 3 commands
-- idempotent no
-- flags    allow-oom
-- twin     limits/algorithms/evaluate.py: refund
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
--#include lib/limit_counts.lua
--#include lib/limit_refund.lua
--#include lib/limit_state_entry.lua
--#include lib/limit_charge.lua
--#include lib/limit_statuses.lua
--#include lib/limit_keep.lua
--#include lib/announce.lua

local state = KEYS[1]
local now_ms = clock(tonumber(ARGV[1]))
local units, channel, rarely = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local age_ms, algorithm = tonumber(ARGV[5]), ARGV[6]

local plan = {algorithm = algorithm, windows = (#ARGV - 6) / 3, args = ARGV, at = 7}
local stored, foreign = limit_state(state)
local windows, holds = limit_windows(plan, stored, now_ms)

local is_missed = rarely == 0 or limit_decision(windows, holds, units, now_ms) > 0
local discarded, refunded = limit_discard(windows, holds), 0
for w = 1, #windows do
  local back = limit_counts(windows[w], now_ms - age_ms) and limit_refund(windows[w], units, now_ms) or 0
  refunded = math.max(refunded, back)
end
local reply = {foreign, discarded, refunded}
local lifetime_ms = limit_statuses(windows, holds, now_ms, reply, 3)

if refunded > 0 then
  limit_keep(state, limit_charge(windows, 0, holds.text), lifetime_ms)
  if is_missed then announce(channel, now_ms, state) end
end
return reply
