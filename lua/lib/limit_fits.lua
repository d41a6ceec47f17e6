-- lib/limit_fits.lua: give the moment from which `cost` more units fit in `window`; 0 where they fit already.
local function limit_fits(window, cost)
  local excess = window.counted + cost - window.limit
  if excess <= 0 then return 0 end

  local index, width_ms, sum = window.index, window.window_ms, window.sum
  if window.algorithm == 'gcra' then
    local whole, rest = share(width_ms, window.total + cost - window.limit, window.rate)
    return index + whole + math.ceil((rest + sum) / window.rate)
  elseif window.algorithm == 'sliding-window-counter' then
    local current, ends_ms = window.total - sum, (index + 1) * width_ms
    local room = window.limit - current - cost
    if room >= 0 then return ends_ms - share(width_ms, room, sum) end
    return ends_ms + width_ms - share(width_ms, room + current, current)
  end
  local slots, last = window.reach + 1, window.older:sub(-24):match(',(%d+):%d+$')
  if last and excess < sum then
    for slot, units in window.older:gmatch(',(%d+):(%d+)') do
      excess, last = excess - units, slot
      if excess <= 0 then break end
    end
    index = index - (index - last) % slots
  elseif last and excess == sum then
    index = index - (index - last) % slots
  end
  index = index + slots
  return window.parts == width_ms and index or math.ceil(index * width_ms / window.parts)
end
