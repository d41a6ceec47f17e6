-- lib/limit_drain.lua: lower the level of gcra, which is whole units and a fraction in 1/window_ms, by `elapsed_ms`.
local function limit_drain(window, elapsed_ms)
  local window_ms, total, fraction = window.window_ms, window.total, window.sum
  local whole, rest = share(elapsed_ms % window_ms, window.units, window_ms)
  total, fraction = total - math.floor(elapsed_ms / window_ms) * window.units - whole, fraction - rest
  if fraction < 0 then total, fraction = total - 1, fraction + window_ms end
  if total < 0 then total, fraction = 0, 0 end
  window.total, window.sum, window.previous = total, fraction, string.format('%d', fraction)
end
