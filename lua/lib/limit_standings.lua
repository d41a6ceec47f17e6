-- lib/limit_standings.lua: reply what remains of `windows` and when they are restored; give how long to keep the state.
local function limit_standings(windows, holds, now_ms, reply, size)
  local whole_ms = now_ms
  for w = 1, #windows do
    local window = windows[w]
    local restored_ms = math.max(limit_fits(window, window.limit), holds.last_ms, now_ms)
    reply[size + 1], reply[size + 2] = math.max(window.limit - window.counted - holds.units, 0), restored_ms - now_ms
    whole_ms, size = math.max(whole_ms, restored_ms), size + 2
  end
  return whole_ms - now_ms + 1000
end
