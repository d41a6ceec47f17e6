-- lib/limit_forget.lua: let what is more than a minute ahead count nothing, and give how much that is.
local function limit_forget(windows, holds)
  local unbelieved = holds.unbelieved
  for w = 1, #windows do
    local window = windows[w]
    if window.ahead_ms > 60000 then
      window.index, window.total, window.sum, window.older = window.present, 0, 0, '0'
      window.counted, window.ahead_ms, unbelieved = 0, 0, unbelieved + 1
    end
  end
  return unbelieved
end
