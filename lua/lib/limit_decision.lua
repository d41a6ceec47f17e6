-- lib/limit_decision.lua: return which of `windows` refuses `cost` longest (0: none), and the wait in ms (-1: forever).
--
-- A cost of 0 only looks: it is never refused, even if the limit was lowered below what is counted.
local function limit_decision(windows, holds, cost, now_ms)
  if cost == 0 then return 0, 0 end
  local fits = #holds == 0
  for w = 1, #windows do
    local window = windows[w]
    if cost > window.capacity then return w, -1 end
    if window.usage + cost > window.capacity or window.ahead_ms > 0 then fits = false end
  end
  if fits then return 0, 0 end
  return limit_wait(windows, holds, cost, now_ms, 0)
end
