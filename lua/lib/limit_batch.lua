-- lib/limit_batch.lua: decide the takes of a call one after the other, and return the reply; equal keys share a state.
--
-- `text` is the state of the only take if it is not common. `latest` has what this call made of states: the text, or true
-- if it has to be read again. If there is one policy with one window, `digits_of` has the number that was written,
-- and equal keys need not be read again. `uncommon`, a function before this one, makes the function for other takes than
-- common ones; it returns the text afterwards.
local function limit_batch(keys, args, policies, now_ms, text)
  local reply = {0, 0, 0, 0, 0, 0}
  if text then
    uncommon()(keys[1], limit_plan(args, 3, now_ms), text, args[#args] + 0, now_ms, reply, 2)
    return reply
  end

  local plans, latest, digits_of, at, size, decide = {}, {}, {}, 3, 2, nil
  for policy = 1, policies do plans[policy], at = limit_plan(args, at, now_ms) end
  local sub, values, is_one = string.sub, redis.call('MGET', unpack(keys)), policies == 1 and plans[1].windows == 1
  for i = 1, #keys do
    local key, plan, cost = keys[i], plans[args[at] + 0], args[at + 1] + 0
    local value, bytes, windows, head, digits = latest[key] or values[i], plan.bytes, plan.windows, plan.head, nil
    local known = digits_of[key]
    if value == true then value = redis.call('GET', key) end
    if known or value and sub(value, 1, bytes) == head then
      digits = ''
      for w = 1, windows do
        local number = known or tonumber(sub(value, bytes + 16 * w - 15, bytes + 16 * w)) or 0
        local left = plan[6 * w - 4] - number
        if not (left >= cost and left < plan[6 * w - 5]) then
          digits = nil
          break
        end
        digits = windows == 1 and number + cost or digits .. string.format('%d', number + cost)
        reply[size + 2 * w + 1], reply[size + 2 * w + 2] = left - cost, plan[6 * w - 3]
      end
    end
    if not digits then
      decide, digits_of[key] = decide or uncommon(), nil
      if known then value = redis.call('GET', key) end
      latest[key] = decide(key, plan, value, cost, now_ms, reply, size)
    else
      reply[size + 1], reply[size + 2] = 0, 0
      if cost > 0 then
        if #value > 50 then
          redis.call('SETRANGE', key, bytes, digits)
        else
          digits = windows == 1 and string.format('%d', digits) or digits
          redis.call('SET', key, head .. digits .. sub(value, bytes + 16 * windows + 1), 'KEEPTTL')
        end
        if is_one then digits_of[key] = digits + 0 else latest[key] = true end
      end
    end
    at, size = at + 2, size + 2 + 2 * windows
  end
  return reply
end
