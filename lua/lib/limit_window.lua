-- lib/limit_window.lua: return how a window is divided: its slots, and how many before the present one count.
--
-- The third value is the index of the present slot; for sliding-log and gcra a slot is a millisecond. The fourth is the
-- name of its counter: the algorithm unless it is sliding-window, the window in seconds, and the resolution if it is.
local function limit_window(algorithm, window_ms, parameter, now_ms)
  local seconds = window_ms:sub(1, -4)
  if algorithm == 'sliding-window' then
    local slots = parameter + 0
    return slots, slots, math.floor(now_ms * slots / window_ms), seconds .. '/' .. parameter .. '='
  end
  local name = algorithm .. '/' .. seconds .. '='
  if algorithm == 'sliding-log' or algorithm == 'gcra' then return window_ms + 0, window_ms - 1, now_ms, name end
  return 1, algorithm == 'fixed-window' and 0 or 1, math.floor(now_ms / window_ms), name
end
