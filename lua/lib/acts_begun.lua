-- lib/acts_begun.lua: return the notes of impersonations that the session `sid` began, or if `others` all but these.
local function acts_begun(acts, sid, others)
  local found = {}
  for note in string.gmatch(acts or '', '[^\n]+') do
    if (string.match(note, '^%d+ (%S+) ') == sid) ~= others then found[#found + 1] = note end
  end
  return table.concat(found, '\n')
end
