-- lib/limit_charge.lua: charge `cost` to all `windows`, and give the state to store; what is empty is left out.
local function limit_charge(windows, cost, held)
  local heads, totals, olders = 'TH1;' .. held, '', ''
  for w = 1, #windows do
    local window = windows[w]
    window.total, window.counted = window.total + cost, window.counted + cost
    if window.counted > 0 then
      heads = heads .. window.name .. string.format('%d;', window.index)
      totals, olders = totals .. string.format('%d;', window.total), olders .. window.older .. ';'
    end
  end
  return heads .. totals .. olders
end
