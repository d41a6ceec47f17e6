-- lib/limit_room.lua: return the units that `windows` have beside `cost`, and the ms to the first end of a sub-bucket.
--
-- There is no room while a counter is ahead of the clock, for its newest sub-bucket is not the present one.
local function limit_room(windows, held, cost, now_ms, longest_ms)
  local room, lasts_ms = math.huge, longest_ms
  for w = 1, #windows do
    local window = windows[w]
    local ends_ms = math.ceil((window.now_index + 1) * window.window_ms / window.slots_per_window)
    lasts_ms, room = math.min(lasts_ms, ends_ms - now_ms), math.min(room, window.capacity - window.usage - held - cost)
    if window.ahead_ms > 0 then room = 0 end
  end
  return room, lasts_ms
end
