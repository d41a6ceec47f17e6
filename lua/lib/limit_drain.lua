-- lib/limit_drain.lua: let the level of gcra, in whole units and parts of 1/window_ms, sink for `elapsed_ms`.
local function limit_drain(window, elapsed_ms)
  local width_ms, total, part = window.window_ms, window.total, window.sum
  local whole, rest = share(elapsed_ms % width_ms, window.rate, width_ms)
  total, part = total - math.floor(elapsed_ms / width_ms) * window.rate - whole, part - rest
  if part < 0 then total, part = total - 1, part + width_ms end
  if total < 0 then total, part = 0, 0 end
  window.total, window.sum, window.older = total, part, string.format('%d', part)
end
