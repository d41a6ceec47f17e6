-- lib/limit_window.lua: return how a window is divided: its slots, and how many before the present one count.
--
-- The third value is the name of its counter, made of algorithm, window and, for sliding-window, the resolution.
-- The fourth is the index of the present slot. For sliding-log and gcra a slot is a millisecond.
local function limit_window(algorithm, window_ms, parameter, now_ms)
  if algorithm == 'sliding-window' then
    local slots = parameter + 0
    return slots, slots, window_ms .. '/' .. parameter .. '=', math.floor(now_ms * slots / window_ms)
  end
  local name = algorithm .. '/' .. window_ms .. '='
  if algorithm == 'sliding-log' or algorithm == 'gcra' then return window_ms + 0, window_ms - 1, name, now_ms end
  return 1, algorithm == 'fixed-window' and 0 or 1, name, math.floor(now_ms / window_ms)
end
