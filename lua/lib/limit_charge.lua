-- lib/limit_charge.lua: charge `cost` to all `windows` and return the state to store; empty windows are left out.
local function limit_charge(windows, cost, holds_text)
  local heads, totals, previous_texts = 'TH1;' .. holds_text, '', ''
  for w = 1, #windows do
    local window = windows[w]
    window.total, window.usage = window.total + cost, window.usage + cost
    if window.usage > 0 then
      heads = heads .. window.name .. string.format('%d;', window.index)
      totals, previous_texts = totals .. string.format('%d;', window.total), previous_texts .. window.previous .. ';'
    end
  end
  return heads .. totals .. previous_texts
end
