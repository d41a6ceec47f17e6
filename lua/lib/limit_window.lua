-- lib/limit_window.lua: prepare one limit for this call: its name in states, and its sub-bucket at `now_ms`.
local function limit_window(limit, window_ms, resolution, now_ms)
  local name = window_ms .. '/' .. resolution .. '='
  limit, window_ms, resolution = tonumber(limit), tonumber(window_ms), tonumber(resolution)
  local index = math.floor(now_ms * resolution / window_ms)
  local head = name .. index .. ','
  return {
    limit = limit, window_ms = window_ms, resolution = resolution, name = name,
    present_index = index, present_head = head, present = '^' .. head .. '(%d+)(),(%d+)',
    lifetime_ms = math.ceil(window_ms * (resolution + 1) / resolution),
    index = index, current = 0, total = 0, older = ',0;', ahead_ms = 0,
  }
end
