-- lib/limit_windows.lua: give the windows of `plan` as `state` counts them at `now_ms`, and what is held.
--
-- `limit` is the most that can be had at once; `rate` is what gcra gives back in a window. An entry ahead of the clock
-- stays as it is, and tells by how much. The next call for the same plan brings the same windows to another state.
local function limit_windows(plan, state, now_ms)
  if not plan.named then
    plan.named, plan.list = {}, {}
    for w = 1, plan.windows do
      local args, at = plan.args, plan.at + 3 * w - 3
      local parts, reach, name, present = limit_window(plan.algorithm, args[at + 1], args[at + 2], now_ms)
      local window = {
        algorithm = plan.algorithm, limit = args[at] + 0, rate = args[at] + 0, window_ms = args[at + 1] + 0,
        parts = parts, reach = reach, name = name, present = present,
        index = 0, total = 0, sum = 0, older = '0', counted = 0, ahead_ms = 0,
      }
      if plan.algorithm == 'gcra' then window.limit = args[at + 2] + 0 end
      plan.named[name], plan.list[w] = window, window
    end
  end
  local windows = plan.list
  for w = 1, #windows do
    local window = windows[w]
    window.index, window.total, window.sum, window.older, window.ahead_ms = window.present, 0, 0, '0', 0
  end
  local holds, at = limit_holds(state, now_ms)
  limit_read(plan.named, state, at)
  for w = 1, #windows do limit_present(windows[w], now_ms) end
  return windows, holds
end
