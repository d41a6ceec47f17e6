-- lib/limit_room.lua: return the units that `windows` have beside `cost`, and the ms that a lease of them lasts.
--
-- It ends two ms before the first sub-bucket does: `now_ms` is rounded down, and clocks differ by less than one a second.
-- There is no room while a counter is ahead of the clock, for its newest sub-bucket is not the present one.
local function limit_room(windows, held, cost, now_ms, longest_ms)
  local room, lasts_ms = math.huge, longest_ms
  for w = 1, #windows do
    local window = windows[w]
    local ends_ms = math.ceil((window.now_index + 1) * window.window_ms / window.slots_per_window)
    lasts_ms, room = math.min(lasts_ms, ends_ms - now_ms - 2), math.min(room, window.capacity - window.usage - held - cost)
    if window.ahead_ms > 0 then room = 0 end
  end
  return room, lasts_ms
end
