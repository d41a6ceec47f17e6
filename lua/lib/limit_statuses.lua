-- lib/limit_statuses.lua: reply what remains of `windows` and when they are restored; return the lifetime of the state.
--
-- The lifetime has at most 14 digits, as many as Lua writes of a number: a damaged hold may end in a million years.
local function limit_statuses(windows, holds, now_ms, reply, size)
  local longest_ms = now_ms
  for w = 1, #windows do
    local window = windows[w]
    local restored_ms = math.max(limit_admits_at(window, window.capacity), holds.last_ms, now_ms)
    reply[size + 1], reply[size + 2] = math.max(window.capacity - window.usage - holds.units, 0), restored_ms - now_ms
    longest_ms, size = math.max(longest_ms, restored_ms), size + 2
  end
  return math.min(longest_ms - now_ms + 1000, 99999999999999)
end
