-- lib/limit_batch.lua: decide the takes of a call one after the other, and return the reply; equal keys share a state.
--
-- The takes are from `args[at]` on. If there is one for each key, equal ones are possible: then `latest` has what this
-- call made of states: the text, or true if it has to be read again. If there is one policy with one window, `digits_of`
-- has the number that was written, and equal keys need not be read again. Functions before this one make those for other
-- takes than common ones: `later_slot` for a state of one window whose slot has ended, if the cost fits, and `uncommon`
-- for all others; what that makes returns the text afterwards.
local function limit_batch(keys, args, plans, at, now_ms)
  local call, sub, latest, digits_of, reply, size = redis.call, string.sub, {}, {}, {0, 0}, 2
  local values, is_one, each = call('MGET', unpack(keys)), #plans == 1 and plans[1].windows == 1, at + 1 < #args
  local plan, cost, bytes, windows, head, step, later, decide = nil, 0, 0, 0, '', nil, nil, nil
  for i = 1, #keys do
    local key, value, known, digits, text, left = keys[i], values[i], nil, nil, nil, 0
    if each or i == 1 then
      plan, cost, at = plans[args[at] + 0], args[at + 1] + 0, at + 2
      bytes, windows, head, step = plan.bytes, plan.windows, plan.head, plan.step
    end
    if each then
      known, value = digits_of[key], latest[key] or value
      if value == true then value = call('GET', key) end
    end
    if known or value and sub(value, 1, bytes) == head then
      digits = ''
      for w = 1, windows do
        local number = known or tonumber(sub(value, bytes + 16 * w - 15, bytes + 16 * w)) or 0
        left = plan[6 * w - 4] - number
        if not (left >= cost and left < plan[6 * w - 5]) then
          digits = nil
          break
        end
        digits, left = windows == 1 and number + cost or digits .. string.format('%d', number + cost), left - cost
        if not step then reply[size + 2 * w + 1], reply[size + 2 * w + 2] = left, plan[6 * w - 3] end
      end
    end
    if not digits and windows == 1 and cost > 0 and left >= plan[1] then
      later = later or later_slot()
      text, left = later(value, head, plan[1], plan[5], plan[4], cost)
    end
    if text then
      call('SET', key, text, 'PX', plan[3] + 1000)
      latest[key] = text
      if not step then reply[size + 3], reply[size + 4] = left, plan[3] end
    elseif not digits then
      decide, digits_of[key] = decide or uncommon(), nil
      if known then value = call('GET', key) end
      latest[key] = decide(key, plan, value, cost, now_ms, reply, size)
      size = size + 2 + 2 * windows
    else
      if cost > 0 and #value > 50 then
        call('SETRANGE', key, bytes, digits)
      elseif cost > 0 then
        digits = windows == 1 and string.format('%d', digits) or digits
        call('SET', key, head .. digits .. sub(value, bytes + 16 * windows + 1), 'KEEPTTL')
      end
      if is_one and each then digits_of[key] = digits + 0 elseif each then latest[key] = true end
    end
    if step and (digits or text) then
      reply[size + 1], size = -left * step - plan[3], size + 1
    elseif digits or text then
      reply[size + 1], reply[size + 2], size = 0, 0, size + 2 + 2 * windows
    end
  end
  return reply
end
