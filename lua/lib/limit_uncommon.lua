-- lib/limit_uncommon.lua: decide a take that is not common, write its reply and its state; return the state after it.
--
-- A refusal by one window, a slot that has ended, gcra and sliding-window-counter have short ways of their own. `others`,
-- a function before this one, makes what makes the function for what these cannot decide; `metered` that of an algorithm
-- without slots. If there is no text, the first write tells whether there is a value of another type, which counts as
-- foreign.
local function limit_uncommon(key, plan, value, cost, now_ms, reply, size)
  local state, foreign, charged, lifetime_ms, is_stored = 'TH2;', 0, nil, nil, false
  if value then state, foreign = limit_state(key, value) end
  if plan.head then
    charged, lifetime_ms = limit_roll(plan, state, cost, now_ms, reply, size)
  elseif plan.windows == 1 then
    plan.charge = plan.charge or metered(plan.algorithm)
    local text, left, restored_ms = plan.charge(plan.name, plan[1], plan[2], plan[3], state, cost, now_ms)
    if text then
      charged, lifetime_ms = text, restored_ms + 1000
      reply[size + 1], reply[size + 2], reply[size + 3], reply[size + 4] = 0, 0, left, restored_ms
    end
  end
  if not charged then
    plan.take = plan.take or select(2, others())()
    charged, lifetime_ms = plan.take(key, plan, state, cost, now_ms, reply, size)
  end
  local stores = charged and lifetime_ms
  if stores and not value then is_stored = redis.call('SET', key, charged, 'PX', lifetime_ms, 'NX') end
  if not value and not is_stored then foreign = select(2, limit_state(key)) end
  if stores and not is_stored then redis.call('SET', key, charged, 'PX', lifetime_ms) end
  reply[1] = reply[1] + foreign
  return charged or state
end
