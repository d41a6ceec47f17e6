-- lib/limit_admits_at.lua: return the moment from which `cost` more units fit in `window`; 0 if they fit already.
local function limit_admits_at(window, cost)
  local excess = window.usage + cost - window.capacity
  if excess <= 0 then return 0 end

  local index, window_ms, sum = window.index, window.window_ms, window.sum
  if window.algorithm == 'gcra' then
    local whole, rest = share(window_ms, window.total + cost - window.capacity, window.units)
    return index + whole + math.ceil((rest + sum) / window.units)
  elseif window.algorithm == 'sliding-window-counter' then
    local current, ends_ms = window.total - sum, (index + 1) * window_ms
    local room = window.capacity - current - cost
    if room >= 0 then return ends_ms - share(window_ms, room, sum) end
    return ends_ms + window_ms - share(window_ms, room + current, current)
  end
  local ring, last = window.span + 1, window.previous:sub(-28):match(',(%d+):%d+$')
  if last and excess < sum then
    for slot, units in window.previous:gmatch(',(%d+):(%d+)') do
      excess, last = excess - units, slot
      if excess <= 0 then break end
    end
    index = index - (index - last) % ring
  elseif last and excess == sum then
    index = index - (index - last) % ring
  end
  index = index + ring
  return window.slots_per_window == window_ms and index or math.ceil(index * window_ms / window.slots_per_window)
end
