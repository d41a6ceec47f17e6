-- lib/limit_state_window.lua: return index, total and previous units of a window in a `TH2;` state, and what follows.
--
-- `digits_at` and `at` are the places of its digits and of its previous units. An index that is not stored whole is
-- near `now_index`: the state lives no longer. nil is the index of digits that are damaged.
local function limit_state_window(state, digits_at, at, now_index)
  local stop, digits = state:find(';', at, true) or #state + 1, state:sub(digits_at, digits_at + 15)
  local previous = at < stop and state:sub(at, stop - 1) or '0'
  if #digits < 16 or digits:find('%D') then return nil, 0, '0', stop + 1 end
  local number = digits - 1000000000000000
  local total = number % 1073741824
  local index, high, rest = (number - total) / 1073741824, previous:match('^(%d+)/(.*)$')
  if high then return high * 4194304 + index, total, rest == '' and '0' or rest, stop + 1 end
  local first = now_index - 3145728
  return first + (index - first) % 4194304, total, previous, stop + 1
end
