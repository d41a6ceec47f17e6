-- lib/limit_alone.lua: charge a common take of one window that is alone in its call, and return the reply; else nil.
--
-- It is what lib/limit_plan.lua and lib/limit_batch.lua do, without their tables: making these costs as much as deciding.
-- The first take of a key is common here, too. The second value is the text that was read, 'TH2;' if there is none; the
-- third says that its slot has ended, if there is one. It raises, before it writes, if the value is not of our type, or
-- its digits are damaged. A text of up to 50 bytes is stored whole: a server keeps it in one allocation with its key
-- until SETRANGE writes to it.
local function limit_alone(key, cost, head, args, now_ms)
  local value, bytes, limit, window_ms, span = redis.call('GET', key), #head, args[4] + 0, args[5] + 0, args[6] + 0
  if value and string.sub(value, 1, bytes) ~= head then return nil, value end
  local slots, step = span == 0 and 1 or span, 2 * (window_ms + 1)
  local index = math.floor(now_ms * slots / window_ms)
  local empty = 1000000000000000 + index % 4194304 * 1073741824
  local number = (value and string.sub(value, bytes + 1, bytes + 16) or empty) + cost
  local left = limit + empty - number
  if not (left >= 0 and left < limit - (value and cost or 0)) then
    return nil, value or 'TH2;', value and cost > 0 and left >= limit
  end

  local reset_ms = math.ceil((index + span + 1) * window_ms / slots) - now_ms
  if not value then
    redis.call('SET', key, string.format('%s%d', head, number), 'PX', reset_ms + 1000)
  elseif cost > 0 and #value > 50 then
    redis.call('SETRANGE', key, bytes, number)
  elseif cost > 0 then
    redis.call('SET', key, string.format('%s%d', head, number) .. string.sub(value, bytes + 17), 'KEEPTTL')
  end
  return limit * step < 9007199254740992 and -left * step - reset_ms or {0, 0, 0, 0, left, reset_ms}, nil
end
