-- lib/limit_plan.lua: prepare the policy at `args[at]` for its takes; return it, and the place of the next one.
--
-- For each window the plan has its limit, the digits of its present slot when that is reached, the ms until the slot is
-- released, its index, its span and its slots. A take is common if the state begins with `head`, so that it has the same
-- windows, and no slot has ended. `step` is what multiplies the remaining units in a reply of one number, if all replies
-- fit one. What gcra and sliding-window-counter count changes every moment: their plans have no head, but of the first
-- window its three numbers, and `name`, with which a state of this window alone begins.
local function limit_plan(args, at, now_ms)
  local algorithm, windows = args[at], args[at + 1] + 0
  local plan = {
    0, 0, 0, 0, 0, 0,
    algorithm = algorithm, windows = windows, args = args, at = at + 2, head = false, bytes = 0, step = false,
  }
  at = at + 2
  if algorithm == 'gcra' or algorithm == 'sliding-window-counter' then
    plan[1], plan[2], plan[3] = args[at] + 0, args[at + 1] + 0, args[at + 2] + 0
    plan.name = 'TH1;' .. algorithm .. '/' .. args[at + 1] .. '='
    return plan, at + 3 * windows
  end

  local head = 'TH2;'
  for w = 1, 6 * windows, 6 do
    local window_ms = args[at + 1]
    local slots_per_window, span, now_index, name = limit_window(algorithm, window_ms, args[at + 2], now_ms)
    plan[w], plan[w + 1] = args[at] + 0, args[at] + 1000000000000000 + now_index % 4194304 * 1073741824
    plan[w + 2] = span + 1
    if algorithm ~= 'sliding-log' then
      plan[w + 2] = math.ceil((now_index + span + 1) * window_ms / slots_per_window) - now_ms
    end
    plan[w + 3], plan[w + 4], plan[w + 5] = now_index, span, slots_per_window
    head, at = head .. name, at + 3
  end
  local step = 2 * (args[at - 2] + 1)
  if windows == 1 and plan[1] * step < 9007199254740992 then plan.step = step end
  plan.head, plan.bytes = head, #head
  return plan, at
end
