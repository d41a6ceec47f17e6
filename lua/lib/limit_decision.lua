-- lib/limit_decision.lua: bring `windows` to now; give the one that refuses `cost` longest (0: none) and for how many ms.
--
-- The wait is -1 where the cost is above a limit. An entry more than a minute ahead is not believed and counts as
-- nothing, but it will be believed when the clock comes near: so the windows are asked again until one wait fits
-- them all. The third value is the number of such entries.
local function limit_decision(windows, state, cost, now_ms)
  local from, fits = 5, true
  for w = 1, #windows do
    local window = windows[w]
    from = sliding_window(window, state, from, now_ms)
    if window.total + cost > window.limit or window.ahead_ms > 0 then fits = false end
  end
  if fits then return 0, 0, 0 end

  local refused_by, wait_ms, settled = 0, 0, false
  for w = #windows, 1, -1 do
    if cost > windows[w].limit then refused_by, wait_ms, settled = w, -1, true end
  end
  while not settled do
    settled = true
    for w = 1, #windows do
      local fits_after_ms = sliding_fits(windows[w], cost) - now_ms
      if windows[w].ahead_ms - 60000 <= wait_ms and fits_after_ms > wait_ms then
        refused_by, wait_ms, settled = w, fits_after_ms, false
      end
    end
  end

  local unbelieved = 0
  for w = 1, #windows do
    if windows[w].ahead_ms > 60000 then
      sliding_window(windows[w], '', 1, now_ms)
      unbelieved = unbelieved + 1
    end
  end
  return refused_by, wait_ms, unbelieved
end
