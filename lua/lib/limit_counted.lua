-- lib/limit_counted.lua: give the units that count of `window` at `now_ms`.
--
-- Of gcra a begun unit counts whole. With two buckets the units of the earlier one count in part, rounded up.
local function limit_counted(window, now_ms)
  if window.algorithm == 'gcra' then return window.sum > 0 and window.total + 1 or window.total end
  if window.algorithm ~= 'sliding-window-counter' or window.sum == 0 then return window.total end
  local width_ms = window.window_ms
  return math.max(window.total - share(math.max(now_ms - window.index * width_ms, 0), window.sum, width_ms), 0)
end
