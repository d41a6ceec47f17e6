-- lib/limit_standing.lua: give what remains of a window that is at now, and in how many ms it is wholly restored.
local function limit_standing(window, now_ms)
  return math.max(window.limit - window.total, 0), math.max(sliding_fits(window, window.limit) - now_ms, 0)
end
