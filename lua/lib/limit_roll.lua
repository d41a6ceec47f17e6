-- lib/limit_roll.lua: return `state` advanced to the present slots of `plan`; nil if that takes more than advancing.
--
-- It does if the state has other windows, is ahead of the clock, or has holds.
local function limit_roll(plan, state)
  if state == '' then return plan.head .. string.rep('0;', 2 * plan.windows) end
  local at, indices, sums, totals, previous_texts = 5, {0, 0, 0}, {0, 0, 0}, '', ''
  for w = 1, plan.windows do
    local name, now_index = plan[5 * w - 2], plan[5 * w - 1]
    local digits = at + #name
    if state:sub(at, digits - 1) ~= name then return nil end
    local index, after = state:match('^(%d+);()', digits)
    if not index or index + 0 > now_index then return nil end
    indices[w], at = index + 0, after
  end
  for w = 1, plan.windows do
    local total, after = state:match('^(%d+);()', at)
    if not total then return nil end
    sums[w], at = total + 0, after
  end
  for w = 1, plan.windows do
    local stop, index, now_index, total = state:find(';', at, true) or at, indices[w], plan[5 * w - 1], sums[w]
    local previous = state:sub(at, stop - 1)
    if index < now_index then total, previous = limit_advance(index, now_index, plan[5 * w], total, previous) end
    totals, previous_texts, at = totals .. string.format('%d;', total), previous_texts .. previous .. ';', stop + 1
  end
  return plan.head .. totals .. previous_texts
end
