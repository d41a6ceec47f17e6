-- lib/limit_return.lua: return up to `units` of a window to the sub-bucket of `charged_ms`; return how many it had.
--
-- The window was advanced to now. What is released by then has no units to return.
local function limit_return(window, units, charged_ms)
  local index, back = math.floor(charged_ms * window.slots_per_window / window.window_ms), 0
  if index == window.index then
    back = math.min(units, window.total - window.sum)
  elseif index < window.index and index >= window.index - window.span then
    local slot = index % (window.span + 1)
    local previous = window.previous:gsub(string.format(',%d:(%%d+)', slot), function(counted)
      back = math.min(units, counted + 0)
      return counted - back > 0 and string.format(',%d:%d', slot, counted - back) or ''
    end, 1)
    window.sum = window.sum - back
    window.previous = string.format('%d', window.sum) .. previous:match('^%d+(.*)$')
  end
  window.total, window.usage = window.total - back, window.usage - back
  return back
end
