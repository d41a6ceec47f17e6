-- lib/limit_add.lua: charge a common take, write its reply and return the new state; nil if the take is not common.
local function limit_add(plan, state, cost, reply, size)
  if cost == 0 or not plan.head then return nil end
  if state:sub(1, plan.bytes) ~= plan.head then state = limit_roll(plan, state) end
  if not state then return nil end
  local at, totals = plan.bytes + 1, ''
  for w = 1, plan.windows do
    local total, after = state:match('^(%d+);()', at)
    if not total then return nil end
    total = total + cost
    local left = plan[5 * w - 4] - total
    if left < 0 then return nil end
    reply[size + 2 * w + 1], reply[size + 2 * w + 2] = left, plan[5 * w - 3]
    at, totals = after, totals .. string.format('%d;', total)
  end
  reply[size + 1], reply[size + 2] = 0, 0
  return plan.head .. totals .. state:sub(at)
end
