-- lib/limit_advance.lua: advance a window from `index` to the later `now_index`; return its total and previous units.
--
-- The newest slot becomes a previous one, and slots that are no longer within the span are released.
local function limit_advance(index, now_index, span, total, previous)
  if index < now_index - span then return 0, '0' end
  local ring, newest, kept = span + 1, total - (previous:match('^%d+') or 0), nil
  for place, slot, units in previous:gmatch('(),(%d+):(%d+)') do
    kept = place
    if index - (index - slot) % ring >= now_index - span then break end
    kept, total = nil, total - units
  end
  total = math.max(total, 0)
  local first, last = kept and previous:sub(kept) or '', newest > 0 and string.format(',%d:%d', index % ring, newest) or ''
  return total, string.format('%d', total) .. first .. last
end
