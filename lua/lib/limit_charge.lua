-- lib/limit_charge.lua: charge `cost` to all `windows` and return the state to store, '' if it is empty.
--
-- lib/limit_state.lua says which form it has. Windows that count nothing are left out.
local function limit_charge(windows, cost, holds_text)
  local is_plain, longest_ms, names, digits, tails, gap = holds_text == '', 0, '', '', '', ''
  for w = 1, #windows do
    local window = windows[w]
    window.total, window.usage = window.total + cost, window.usage + cost
    local algorithm, newest = window.algorithm, window.total - window.sum
    if algorithm == 'gcra' or algorithm == 'sliding-window-counter' then newest = 0 end
    is_plain = is_plain and newest > 0 and window.total < 1073741824
    longest_ms = math.max(longest_ms, window.window_ms)
  end
  for w = 1, #windows do
    local window, name, number, previous = windows[w], nil, nil, nil
    if is_plain then
      local slot_ms = window.window_ms / window.slots_per_window
      number, previous = limit_state_entry(window.index, window.total, window.previous, slot_ms, longest_ms)
      names, digits = names .. window.name, digits .. number
      if previous ~= '' then tails, gap = tails .. gap .. previous, '' end
      gap = gap .. ';'
    elseif window.usage > 0 then
      name = window.name:gsub('^(%D*%d+)', '%1000')
      names, digits = names .. name .. string.format('%d;', window.index), digits .. string.format('%d;', window.total)
      tails = tails .. window.previous .. ';'
    end
  end
  if is_plain then return 'TH2;' .. names .. digits .. tails end
  return names == '' and holds_text == '' and '' or 'TH1;' .. holds_text .. names .. digits .. tails
end
