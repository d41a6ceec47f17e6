-- lib/limit_rolled.lua: give `state` as it stands at the present parts of `plan`; nil where there is more to it.
--
-- That is where the state names other windows, is ahead of the clock, or holds something.
local function limit_rolled(plan, state)
  if state == '' then return plan.head .. string.rep('0;', 2 * plan.windows) end
  local at, indices, sums, totals, olders = 5, {0, 0, 0}, {0, 0, 0}, '', ''
  for w = 1, plan.windows do
    local name, present = plan[5 * w - 2], plan[5 * w - 1]
    local digits = at + #name
    if state:sub(at, digits - 1) ~= name then return nil end
    local index, after = state:match('^(%d+);()', digits)
    if not index or index + 0 > present then return nil end
    indices[w], at = index + 0, after
  end
  for w = 1, plan.windows do
    local total, after = state:match('^(%d+);()', at)
    if not total then return nil end
    sums[w], at = total + 0, after
  end
  for w = 1, plan.windows do
    local stop, index, present, total = state:find(';', at, true) or at, indices[w], plan[5 * w - 1], sums[w]
    local older = state:sub(at, stop - 1)
    if index < present then total, older = limit_moved(index, present, plan[5 * w], total, older) end
    totals, olders, at = totals .. string.format('%d;', total), olders .. older .. ';', stop + 1
  end
  return plan.head .. totals .. olders
end
