-- lib/sliding_fits.lua: give the moment from which `cost` more units fit in `window`; 0 where they fit already.
local function sliding_fits(window, cost)
  local excess = window.total + cost - window.limit
  if excess <= 0 then return 0 end

  local index, n = window.index, window.resolution
  if excess <= window.total - window.current then
    for slot, units in window.older:gmatch(',(%d+):(%d+)') do
      excess = excess - units
      if excess <= 0 then
        index = index - (index - slot) % 1000
        break
      end
    end
  end
  return math.ceil((index + n + 1) * window.window_ms / n)
end
