-- lib/limit_counts.lua: return whether units that `window` counted at `taken_ms` may count still.
--
-- For gcra they may until a level as high as the burst would have drained.
local function limit_counts(window, taken_ms)
  local slots, window_ms, lasts = window.slots_per_window, window.window_ms, window.span
  if window.algorithm == 'gcra' then lasts = share(window_ms, window.capacity, window.units) - 1 end
  local index = slots == window_ms and taken_ms or math.floor(taken_ms * slots / window_ms)
  return window.now_index - index <= lasts
end
