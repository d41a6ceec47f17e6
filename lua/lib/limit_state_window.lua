-- lib/limit_state_window.lua: return index, total and previous units of a window in a `TH2;` state, and what follows.
--
-- `digits_at` and `at` are the places of its digits and of its previous units. An index that is not stored whole is
-- near `now_index`: the state lives no longer. nil is the index of digits that are damaged.
local function limit_state_window(state, digits_at, at, now_index)
  local stop, number = state:find(';', at, true) or #state + 1, tonumber(state:sub(digits_at, digits_at + 15))
  if not number or not (number >= 1000000000000000 and number < 9007199254740992) or number % 1 > 0 then
    return nil, 0, '0', stop + 1
  end
  local previous, total = at < stop and state:sub(at, stop - 1) or '0', (number - 1000000000000000) % 1073741824
  local index = (number - 1000000000000000 - total) / 1073741824
  if previous:find('/', 1, true) then
    local high, rest = previous:match('^(%d+)/(.*)$')
    return (high or 0) * 4194304 + index, total, rest ~= '' and rest or '0', stop + 1
  end
  local first = now_index - 3145728
  return first + (index - first) % 4194304, total, previous, stop + 1
end
