-- lib/limit_plan.lua: prepare the policy whose windows begin at `args[at]` for its common takes, and maybe others.
--
-- A common take finds a state that begins with `head`, whose newest parts are the present ones, or that can be brought
-- to it. Of each window there are five values: the limit, in how many ms the present part is released, the name, the
-- index of the present part and its reach. Of gcra and with two buckets units weigh less from one moment to the next:
-- there no take is common, and there is no `head`.
local function limit_plan(algorithm, windows, args, at, now_ms)
  local plan = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    algorithm = algorithm, windows = windows, args = args, at = at, lifetime_ms = 0, head = nil, bytes = 0,
  }
  if algorithm == 'gcra' or algorithm == 'sliding-window-counter' then return plan end

  local head, longest_ms = 'TH1;', 0
  for w = 1, 5 * windows, 5 do
    local parts, reach, name, present = limit_window(algorithm, args[at + 1], args[at + 2], now_ms)
    local whole_ms = reach + 1
    if algorithm ~= 'sliding-log' then whole_ms = math.ceil((present + reach + 1) * args[at + 1] / parts) - now_ms end
    if whole_ms > longest_ms then longest_ms = whole_ms end
    plan[w], plan[w + 1], plan[w + 2], plan[w + 3], plan[w + 4] = args[at] + 0, whole_ms, name, present, reach
    head, at = head .. name .. string.format('%d;', present), at + 3
  end
  plan.head, plan.bytes, plan.lifetime_ms = head, #head, longest_ms + 1000
  return plan
end
