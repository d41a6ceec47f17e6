-- lib/limit_moved.lua: bring what a window counts at `index` to the later `present` part; give total and older units.
--
-- What was the newest part is an older one then, and what is no longer within reach is released.
local function limit_moved(index, present, reach, total, older)
  local slots, newest, kept = reach + 1, total - (older:match('^%d+') or 0), nil
  for place, slot, units in older:gmatch('(),(%d+):(%d+)') do
    kept = place
    if index - (index - slot) % slots >= present - reach then break end
    kept, total = nil, total - units
  end
  local first, last = kept and older:sub(kept) or '', ''
  if index < present - reach then
    total = total - newest
  elseif newest > 0 then
    last = string.format(',%d:%d', index % slots, newest)
  end
  total = math.max(total, 0)
  return total, string.format('%d', total) .. first .. last
end
