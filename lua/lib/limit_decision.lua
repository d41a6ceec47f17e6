-- lib/limit_decision.lua: give which of `windows` refuses `cost` longest, 0 for none, and for how long, -1 for ever.
--
-- To look, a cost of 0, is never refused, not even where more was counted than the limit allows by now.
local function limit_decision(windows, holds, cost, now_ms)
  if cost == 0 then return 0, 0 end
  local fits = #holds == 0
  for w = 1, #windows do
    local window = windows[w]
    if cost > window.limit then return w, -1 end
    if window.counted + cost > window.limit or window.ahead_ms > 0 then fits = false end
  end
  if fits then return 0, 0 end
  return limit_wait(windows, holds, cost, now_ms, 0)
end
