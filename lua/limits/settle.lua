-- limits/settle.lua: end a hold and charge what was needed; if it is unknown or over, nothing is written.
--
-- What was needed is charged even above the estimate and above a limit. If it is less than was held, that is announced.
--
-- KEYS[1]  state       string; every window of one key and policy
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  id          text; as limits/reserve was given it
-- ARGV[3]  actual      integer 0..10^9; units that were needed
-- ARGV[4]  channel     text; gets the time in ms and the name of the key
-- ARGV[5]  algorithm   text; one of those of limits/take
-- ARGV[6..]            per window, up to 8, three numbers as in limits/take
-- returns  {foreign values, counters and holds ignored, settled 1 or 0, then for each window remaining, reset_after_ms}
-- expires  state: a second after the last window is wholly restored and no hold is left
-- cost     O(windows * resolution + holds), 3 commands
-- idempotent no
-- flags    allow-oom
-- twin     limits/algorithms/evaluate.py: settle
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
--#include lib/limit_discard.lua
--#include lib/limit_state_entry.lua
--#include lib/limit_charge.lua
--#include lib/limit_statuses.lua
--#include lib/limit_keep.lua
--#include lib/announce.lua

local state, id, channel, algorithm = KEYS[1], ARGV[2], ARGV[4], ARGV[5]
local now_ms, actual = clock(tonumber(ARGV[1])), tonumber(ARGV[3])

local plan = {algorithm = algorithm, windows = (#ARGV - 5) / 3, args = ARGV, at = 6}
local stored, foreign = limit_state(state)
local from, to = stored:find(';hold/' .. id .. '=', 1, true)
local settled, held, made_ms, held_ms, after = 0, nil, nil, nil, nil
if from then held, made_ms, held_ms, after = stored:match('^(%d+),(%d+),(%d+);()', to + 1) end
if held and made_ms + held_ms > now_ms then
  settled, stored = 1, stored:sub(1, from) .. stored:sub(after)
end

local windows, holds = limit_windows(plan, stored, now_ms)
local reply = {foreign, limit_discard(windows, holds), settled}
local charged = settled == 1 and limit_charge(windows, actual, holds.text)
local lifetime_ms = limit_statuses(windows, holds, now_ms, reply, 3)

if charged then limit_keep(state, charged, lifetime_ms) end
if charged and actual < held + 0 then announce(channel, now_ms, state) end
return reply
