-- lib/limit_take.lua: decide a take by all windows and holds, and write its reply; return the new state if it is charged.
--
-- The second value is its lifetime.
local function limit_take(key, plan, state, cost, now_ms, reply, size)
  local windows, holds = limit_windows(plan, state, now_ms)
  local refused_by, retry_after_ms = limit_decision(windows, holds, cost, now_ms)
  reply[2] = reply[2] + limit_discard(windows, holds)
  local charged = refused_by == 0 and cost > 0 and limit_charge(windows, cost, holds.text)
  reply[size + 1], reply[size + 2] = refused_by, retry_after_ms
  local lifetime_ms = limit_statuses(windows, holds, now_ms, reply, size + 2)
  limit_retain(key, windows, retry_after_ms, lifetime_ms)
  return charged, lifetime_ms
end
