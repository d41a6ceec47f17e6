-- lib/limit_wait.lua: return which of `windows` refuses `cost` longest (0: none), and the wait until all admit it.
--
-- The wait is the first from `wait_ms` on, and a fixed point: what is too far ahead of the clock now may count by then.
-- So the windows are asked again until one wait suits all. Holds end one after the other: the cost fits once so many
-- have ended that it and the rest fit beside the counter.
local function limit_wait(windows, holds, cost, now_ms, wait_ms)
  local refused_by, refuses = 0, true
  while refuses do
    local live, held, moment_ms = {}, 0, now_ms + wait_ms
    for _, hold in ipairs(holds) do
      if hold.ends_ms > moment_ms and hold.made_ms - moment_ms <= 60000 then
        live[#live + 1], held = hold, held + hold.units
      end
    end
    table.sort(live, function(a, b) return a.ends_ms < b.ends_ms end)
    refuses = false
    for w = 1, #windows do
      local window, held_then, from_ms, admits_at_ms = windows[w], held, 0, math.huge
      local counts = window.ahead_ms - wait_ms <= 60000
      for i = 1, #live + 1 do
        if held_then + cost <= window.capacity then
          local fits_at_ms = counts and limit_admits_at(window, held_then + cost) or 0
          admits_at_ms = math.min(admits_at_ms, math.max(from_ms, fits_at_ms))
        end
        if live[i] then held_then, from_ms = held_then - live[i].units, live[i].ends_ms end
      end
      if admits_at_ms > moment_ms then
        refused_by, wait_ms, refuses = w, admits_at_ms - now_ms, true
        break
      end
    end
  end
  return refused_by, wait_ms
end
