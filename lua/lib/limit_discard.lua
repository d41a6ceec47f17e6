-- lib/limit_discard.lua: empty the windows that are more than a minute ahead; return how many, ignored holds included.
local function limit_discard(windows, holds)
  local discarded = holds.discarded
  for w = 1, #windows do
    local window = windows[w]
    if window.ahead_ms > 60000 then
      window.index, window.total, window.sum, window.previous = window.now_index, 0, 0, '0'
      window.usage, window.ahead_ms, discarded = 0, 0, discarded + 1
    end
  end
  return discarded
end
