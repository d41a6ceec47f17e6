-- lib/limit_usage.lua: return the units of `window` that count at `now_ms`.
--
-- For gcra a fraction counts as a whole unit. For sliding-window-counter the previous units count in part, rounded up.
local function limit_usage(window, now_ms)
  if window.algorithm == 'gcra' then return window.sum > 0 and window.total + 1 or window.total end
  if window.algorithm ~= 'sliding-window-counter' or window.sum == 0 then return window.total end
  local window_ms = window.window_ms
  return math.max(window.total - share(math.max(now_ms - window.index * window_ms, 0), window.sum, window_ms), 0)
end
