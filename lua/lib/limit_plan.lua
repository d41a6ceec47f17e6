-- lib/limit_plan.lua: prepare a policy, whose windows begin at `args[at]`, for its common takes.
--
-- A take is common if the state begins with `head`, which means that its newest slots are the present ones, or can be
-- advanced so that it does. Each window has five values: the limit, the ms until the present slot is released, the
-- name, the present index and the span. For gcra and sliding-window-counter the usage changes every moment, so there is
-- no `head` and no take is common.
local function limit_plan(algorithm, windows, args, at, now_ms)
  local plan = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    algorithm = algorithm, windows = windows, args = args, at = at, lifetime_ms = 0, head = nil, bytes = 0,
  }
  if algorithm == 'gcra' or algorithm == 'sliding-window-counter' then return plan end

  local head, longest_ms = 'TH1;', 0
  for w = 1, 5 * windows, 5 do
    local slots_per_window, span, name, now_index = limit_window(algorithm, args[at + 1], args[at + 2], now_ms)
    local restored_ms = span + 1
    if algorithm ~= 'sliding-log' then
      restored_ms = math.ceil((now_index + span + 1) * args[at + 1] / slots_per_window) - now_ms
    end
    if restored_ms > longest_ms then longest_ms = restored_ms end
    plan[w], plan[w + 1], plan[w + 2], plan[w + 3], plan[w + 4] = args[at] + 0, restored_ms, name, now_index, span
    head, at = head .. name .. string.format('%d;', now_index), at + 3
  end
  plan.head, plan.bytes, plan.lifetime_ms = head, #head, longest_ms + 1000
  return plan
end
