-- lib/limit_refunded.lua: take up to `units` back from a window that is at now, the oldest first; give how many.
local function limit_refunded(window, units, now_ms)
  local total, sum, counted, left, kept = window.total, window.sum, window.counted, units, ''
  window.total = math.max(total - units, 0)
  if window.algorithm == 'gcra' then
    if total < units then window.sum, window.older = 0, '0' end
    window.counted = limit_counted(window, now_ms)
    return counted - window.counted
  end

  for slot, held, after in window.older:gmatch(',(%d+):(%d+)()') do
    if held - left > 0 then
      kept = string.format(',%s:%d', slot, held - left) .. window.older:sub(after)
      break
    end
    left = left - held
  end
  window.sum = math.max(sum - units, 0)
  window.older, window.counted = string.format('%d', window.sum) .. kept, limit_counted(window, now_ms)
  return total - window.total
end
