-- lib/limit_roll.lua: charge a state whose slots have ended, or a new one, and write the reply; return the new state.
--
-- The second value is its lifetime; there is none if its only window refuses, so that nothing is stored. nil if that
-- takes more: the state has other windows or the other form, is ahead of the clock, or one of several windows refuses.
-- `others`, a function before this one, makes the one that finds the wait.
local function limit_roll(plan, state, cost, now_ms, reply, size)
  local windows, args, longest_ms, lifetime_ms = plan.windows, plan.args, 0, 0
  local is_new, digits_at, at = state == 'TH2;', plan.bytes + 1, plan.bytes + 16 * plan.windows + 1
  if cost == 0 or not plan.head or not is_new and state:sub(1, plan.bytes) ~= plan.head then return nil end
  if is_new and windows == 1 and cost <= plan[1] and plan.algorithm ~= 'sliding-log' then
    reply[size + 1], reply[size + 2], reply[size + 3], reply[size + 4] = 0, 0, plan[1] - cost, plan[3]
    return string.format('%s%d', plan.head, plan[2] - plan[1] + cost), plan[3] + 1000
  end
  for w = 1, windows do longest_ms = math.max(longest_ms, args[plan.at + 3 * w - 2]) end
  local digits, tails, gap = '', '', ''
  for w = 1, windows do
    local limit, restored_ms, now_index = plan[6 * w - 5], plan[6 * w - 3], plan[6 * w - 2]
    local span, index, total, previous = plan[6 * w - 1], now_index, 0, ''
    if not is_new then
      index, total, previous, at = limit_state_window(state, digits_at, at, now_index)
      if not index or index > now_index then return nil end
      if index < now_index then total, previous = limit_advance(index, now_index, span, total, previous) end
    end
    local window_ms, slots = args[plan.at + 3 * w - 2] + 0, plan[6 * w]
    if total + cost > limit then
      if windows > 1 or cost > limit then return nil end
      local window = {
        algorithm = plan.algorithm, capacity = limit, window_ms = window_ms, slots_per_window = slots, span = span,
        index = now_index, usage = total, sum = (previous:match('^%d+') or 0) + 0, previous = previous,
      }
      local admits_at = others()
      reply[size + 1], reply[size + 2], reply[size + 3] = 1, admits_at(window, cost) - now_ms, math.max(limit - total, 0)
      reply[size + 4] = math.max(admits_at(window, limit) - now_ms, 0)
      return state, nil
    end
    total, digits_at, lifetime_ms = total + cost, digits_at + 16, math.max(lifetime_ms, restored_ms + 1000)
    local slot_ms = window_ms / slots
    local number, tail = limit_state_entry(now_index, total, previous, slot_ms, longest_ms)
    digits = digits .. number
    if tail ~= '' then tails, gap = tails .. gap .. tail, '' end
    gap = gap .. ';'
    reply[size + 2 * w + 1], reply[size + 2 * w + 2] = limit - total, restored_ms
  end
  reply[size + 1], reply[size + 2] = 0, 0
  return plan.head .. digits .. tails, lifetime_ms
end
