-- lib/limit_present.lua: bring `window` to what it counts at `now_ms`: what is released by then is dropped.
local function limit_present(window, now_ms)
  local index, present, width_ms = window.index, window.present, window.window_ms
  if index > present then
    window.ahead_ms = (window.parts == width_ms and index or math.ceil(index * width_ms / window.parts)) - now_ms
  elseif index < present and window.algorithm == 'gcra' then
    limit_drain(window, present - index)
    window.index = present
  elseif index < present then
    window.total, window.older = limit_moved(index, present, window.reach, window.total, window.older)
    window.index, window.sum = present, window.total
  end
  window.counted = limit_counted(window, now_ms)
end
