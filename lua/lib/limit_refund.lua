-- lib/limit_refund.lua: take up to `units` from a window that was advanced to now, the oldest first; return how many.
local function limit_refund(window, units, now_ms)
  local total, sum, usage, left, kept = window.total, window.sum, window.usage, units, ''
  window.total = math.max(total - units, 0)
  if window.algorithm == 'gcra' then
    if total < units then window.sum, window.previous = 0, '0' end
    window.usage = limit_usage(window, now_ms)
    return usage - window.usage
  end

  for slot, counted, after in window.previous:gmatch(',(%d+):(%d+)()') do
    if counted - left > 0 then
      kept = string.format(',%s:%d', slot, counted - left) .. window.previous:sub(after)
      break
    end
    left = left - counted
  end
  window.sum = math.max(sum - units, 0)
  window.previous, window.usage = string.format('%d', window.sum) .. kept, limit_usage(window, now_ms)
  return total - window.total
end
