-- lib/limit_windows.lua: return the windows of `plan` with what `state` counts at `now_ms`, and its holds.
--
-- `capacity` is the most that can be available at once; `units` is what gcra restores in a window. A counter ahead of
-- the clock stays as it is, and `ahead_ms` says by how much. The next call for the same plan reuses the same windows.
local function limit_windows(plan, state, now_ms)
  if not plan.named then
    plan.named, plan.list = {}, {}
    for w = 1, plan.windows do
      local args, at = plan.args, plan.at + 3 * w - 3
      local slots_per_window, span, now_index, name = limit_window(plan.algorithm, args[at + 1], args[at + 2], now_ms)
      local window = {
        algorithm = plan.algorithm, capacity = args[at] + 0, units = args[at] + 0, window_ms = args[at + 1] + 0,
        slots_per_window = slots_per_window, span = span, name = name, now_index = now_index,
        index = 0, total = 0, sum = 0, previous = '0', usage = 0, ahead_ms = 0,
      }
      if plan.algorithm == 'gcra' then window.capacity = args[at + 2] + 0 end
      plan.named[name], plan.list[w] = window, window
    end
  end
  local windows = plan.list
  for w = 1, #windows do
    local window = windows[w]
    window.index, window.total, window.sum, window.previous, window.ahead_ms = window.now_index, 0, 0, '0', 0
  end
  local holds, at = limit_holds(state, now_ms)
  limit_read(plan.named, state, at)
  for w = 1, #windows do limit_current(windows[w], now_ms) end
  return windows, holds
end
