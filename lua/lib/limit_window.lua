-- lib/limit_window.lua: tell how a window is cut: into how many parts, and how many before the present one count.
--
-- Third comes the name of its entries, which tells algorithm, window and, for sliding-window, resolution; fourth the
-- index of the present part. The parts of a log and of gcra are milliseconds.
local function limit_window(algorithm, window_ms, third, now_ms)
  if algorithm == 'sliding-window' then
    local parts = third + 0
    return parts, parts, window_ms .. '/' .. third .. '=', math.floor(now_ms * parts / window_ms)
  end
  local name = algorithm .. '/' .. window_ms .. '='
  if algorithm == 'sliding-log' or algorithm == 'gcra' then return window_ms + 0, window_ms - 1, name, now_ms end
  return 1, algorithm == 'fixed-window' and 0 or 1, name, math.floor(now_ms / window_ms)
end
