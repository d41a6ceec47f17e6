-- lib/throttle_window.lua: return how long a window refuses, the index of its sub-bucket, and the names of old ones.
local function throttle_window(key, failures, window_ms, now_ms)
  local width_ms, counts, total, old, wait_ms = window_ms / 10, {}, 0, {}, 0
  local current = math.floor(now_ms / width_ms)
  local found = redis.call('HGETALL', key)
  for i = 1, #found, 2 do
    local index, units = math.min(tonumber(found[i]), current), tonumber(found[i + 1])
    if index < current - 10 then
      old[#old + 1] = found[i]
    else
      counts[index], total = (counts[index] or 0) + units, total + units
    end
  end
  local index = current - 10
  while total >= failures do
    total, index = total - (counts[index] or 0), index + 1
    wait_ms = (index + 10) * width_ms - now_ms
  end
  return {wait_ms = wait_ms, index = current, old = old, kept_ms = window_ms + width_ms}
end
