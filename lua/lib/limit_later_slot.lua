-- lib/limit_later_slot.lua: charge a window whose slot has ended since `state`; return the new state and what is left.
--
-- It is what lib/limit_advance.lua and lib/limit_state_entry.lua do, without tables, for a state of this window alone.
-- nil if the slot has not ended, if the cost does not fit, or if the text is damaged or tells its index another way.
local function limit_later_slot(state, head, limit, span, now_index, cost)
  local at = #head + 17
  local number = tonumber(string.sub(state, at - 16, at - 1)) or 0
  if not (number >= 1000000000000000 and number < 9007199254740992) or number % 1 > 0 then return nil end
  local total, nearest = (number - 1000000000000000) % 1073741824, now_index - 3145728
  local index = nearest + ((number - 1000000000000000 - total) / 1073741824 - nearest) % 4194304
  if index >= now_index or string.find(state, '/', at, true) then return nil end
  local now_number = 1000000000000000 + now_index % 4194304 * 1073741824 + cost
  if index < now_index - span then
    if cost > limit then return nil end
    return string.format('%s%d', head, now_number), limit - cost
  end

  local ring, newest = span + 1, total - (string.match(state, '^%d+', at) or 0)
  local place, stop, slot, units = string.find(state, ',(%d+):(%d+)', at)
  while place and index - (index - slot) % ring < now_index - span do
    total = total - units
    place, stop, slot, units = string.find(state, ',(%d+):(%d+)', stop + 1)
  end
  local left, kept = limit - total - cost, place and string.sub(state, place) or ''
  if left < 0 or newest <= 0 or total < newest or string.find(state, ';', at, true) then return nil end
  return string.format('%s%d%d%s,%d:%d', head, now_number + total, total, kept, index % ring, newest), left
end
