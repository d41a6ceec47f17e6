-- lib/limit_charge.lua: charge `cost` to all `windows`; give the state to store, and for how many ms to keep it.
local function limit_charge(windows, cost)
  local state, lifetime_ms = 'TH1;', 0
  for w = 1, #windows do
    local window = windows[w]
    local stands = window.index == window.present_index
    local head = stands and window.present_head or window.name .. window.index .. ','
    window.current, window.total = window.current + cost, window.total + cost
    state = state .. head .. window.current .. window.older
    lifetime_ms = math.max(lifetime_ms, window.ahead_ms + window.lifetime_ms)
  end
  return state, lifetime_ms
end
