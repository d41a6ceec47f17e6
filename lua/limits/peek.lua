-- limits/peek.lua: tell what a take of one subject would find, and change nothing.
--
-- KEYS[1]  state       string; every window of one subject and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  cost        integer 0..10^9
-- ARGV[3..]            the algorithm; then per window, up to 8: its limit 1..10^9, window_ms 1000..2^35 and
--                      resolution 1..120
-- returns  {foreign values, entries not believed, the window that would refuse or 0, retry_after_ms or -1 for never,
--          then for each window remaining, reset_after_ms}
-- expires  nothing is written
-- cost     O(windows * resolution), 1 command
-- idempotent yes
-- flags    no-writes
-- twin     limits/windows.py: peek
--#include lib/now.lua
--#include lib/limit_window.lua
--#include lib/limit_state.lua
--#include lib/sliding_window.lua
--#include lib/sliding_fits.lua
--#include lib/limit_decision.lua
--#include lib/limit_standing.lua

local state = KEYS[1]
local now_ms = clock(tonumber(ARGV[1]))
local cost = tonumber(ARGV[2])

local windows = {}
for i = 4, #ARGV, 3 do
  windows[#windows + 1] = limit_window(ARGV[i], ARGV[i + 1], ARGV[i + 2], now_ms)
end
local stored, foreign = limit_state(state)

local refused_by, retry_after_ms, unbelieved = limit_decision(windows, stored, cost, now_ms)
local reply = {foreign, unbelieved, refused_by, retry_after_ms}
for w = 1, #windows do
  reply[2 * w + 3], reply[2 * w + 4] = limit_standing(windows[w], now_ms)
end

return reply
