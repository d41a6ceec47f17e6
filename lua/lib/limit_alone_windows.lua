-- lib/limit_alone_windows.lua: charge a common take of several windows that is alone, and return the reply; else nil.
--
-- The rest is as in lib/limit_alone.lua, but that the first take of a key is not common. The third value says that the
-- slot of the first window that is not in its slot has ended; the others have not been looked at.
local function limit_alone_windows(key, cost, head, args, windows, now_ms)
  local value, bytes, digits, reply = redis.call('GET', key), #head, '', {0, 0, 0, 0, 0, 0, 0, 0}
  if not value or string.sub(value, 1, bytes) ~= head then return nil, value or 'TH2;' end
  for w = 1, windows do
    local limit, window_ms, span = args[3 * w + 1] + 0, args[3 * w + 2], args[3 * w + 3] + 0
    local slots = span == 0 and 1 or span
    local index = math.floor(now_ms * slots / window_ms)
    local empty = 1000000000000000 + index % 4194304 * 1073741824
    local number = string.sub(value, bytes + 16 * w - 15, bytes + 16 * w) + cost
    local left = limit + empty - number
    if not (left >= 0 and left < limit - cost) then return nil, value, cost > 0 and left >= limit end
    digits = digits .. string.format('%d', number)
    reply[2 * w + 3], reply[2 * w + 4] = left, math.ceil((index + span + 1) * window_ms / slots) - now_ms
  end
  if cost > 0 then redis.call('SETRANGE', key, bytes, digits) end
  return reply, nil
end
