-- lib/limit_wait.lua: give which of `windows` refuses `cost` longest, 0 for none, and the wait until all admit it.
--
-- The wait is the first from `wait_ms` on. What is held ends by and by, so the cost fits once enough of it has ended
-- and the rest fits beside what was taken. What is not believed now may be believed by then: so the windows are asked
-- again until one wait fits them all.
local function limit_wait(windows, holds, cost, now_ms, wait_ms)
  local refused_by, settled = 0, false
  while not settled do
    local live, held, moment_ms = {}, 0, now_ms + wait_ms
    for _, hold in ipairs(holds) do
      if hold.ends_ms > moment_ms and hold.made_ms - moment_ms <= 60000 then
        live[#live + 1], held = hold, held + hold.units
      end
    end
    table.sort(live, function(a, b) return a.ends_ms < b.ends_ms end)
    settled = true
    for w = 1, #windows do
      local window, beside, from_ms, fits_ms = windows[w], held, 0, math.huge
      local believed = window.ahead_ms - wait_ms <= 60000
      for i = 1, #live + 1 do
        if beside + cost <= window.limit then
          fits_ms = math.min(fits_ms, math.max(from_ms, believed and limit_fits(window, beside + cost) or 0))
        end
        if live[i] then beside, from_ms = beside - live[i].units, live[i].ends_ms end
      end
      if settled and fits_ms > moment_ms then refused_by, wait_ms, settled = w, fits_ms - now_ms, false end
    end
  end
  return refused_by, wait_ms
end
