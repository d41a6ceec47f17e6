-- lib/limit_current.lua: advance `window` to `now_ms` and compute its usage; what is released by then is dropped.
local function limit_current(window, now_ms)
  local index, now_index, window_ms = window.index, window.now_index, window.window_ms
  if index > now_index then
    local slots = window.slots_per_window
    window.ahead_ms = (slots == window_ms and index or math.ceil(index * window_ms / slots)) - now_ms
  elseif index < now_index and window.algorithm == 'gcra' then
    limit_drain(window, now_index - index)
    window.index = now_index
  elseif index < now_index then
    window.total, window.previous = limit_advance(index, now_index, window.span, window.total, window.previous)
    window.index, window.sum = now_index, window.total
  end
  window.usage = limit_usage(window, now_ms)
end
