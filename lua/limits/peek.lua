-- limits/peek.lua: return what a take of one key would find; nothing is changed.
--
-- KEYS[1]  state       string; every window of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  cost        integer 0..10^9
-- ARGV[3]  algorithm   text; one of those of limits/take
-- ARGV[4..]            per window, up to 8, three numbers as in limits/take
-- returns  {foreign values, counters and holds ignored, the window that would refuse or 0, retry_after_ms or -1 for
--          never, then for each window remaining, reset_after_ms}
-- expires  nothing is written
-- cost     O(windows * resolution), 1 command
-- idempotent yes
-- flags    no-writes
-- twin     limits/algorithms/evaluate.py: peek
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
--#include lib/limit_statuses.lua

local state = KEYS[1]
local now_ms = clock(tonumber(ARGV[1]))
local cost, algorithm = tonumber(ARGV[2]), ARGV[3]

local plan = {algorithm = algorithm, windows = (#ARGV - 3) / 3, args = ARGV, at = 4}
local stored, foreign = limit_state(state)
local windows, holds = limit_windows(plan, stored, now_ms)

local refused_by, retry_after_ms = limit_decision(windows, holds, cost, now_ms)
local reply = {foreign, limit_discard(windows, holds), refused_by, retry_after_ms}
limit_statuses(windows, holds, now_ms, reply, 4)

return reply
