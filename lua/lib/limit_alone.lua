-- lib/limit_alone.lua: charge a common take that is alone in its call, and return the reply; else nil and the text read.
--
-- It is what lib/limit_plan.lua and lib/limit_batch.lua do, for sliding-window and without their tables: making these
-- costs as much as deciding. The first take of a key is common here, too, if there is one window. A text of up to 50
-- bytes is stored whole: a server keeps it in one allocation with its key until SETRANGE writes to it.
local function limit_alone(keys, args, now_ms)
  if keys[2] or args[2] ~= '1' or args[3] ~= 'sliding-window' then return nil, nil end
  local windows, cost, head, reply = args[4] + 0, args[#args] + 0, 'TH2;', {0, 0, 0, 0, 0, 0}
  for at = 5, 3 * windows + 2, 3 do head = head .. string.sub(args[at + 1], 1, -4) .. '/' .. args[at + 2] .. '=' end
  local value, bytes, digits = redis.pcall('GET', keys[1]), #head, ''
  local is_new = not value and windows == 1 and cost > 0
  if not is_new then
    if not value then return nil, 'TH2;' end
    if type(value) ~= 'string' then return nil, nil end
    if string.sub(value, 1, bytes) ~= head then return nil, value end
  end
  for w = 1, windows do
    local limit, window_ms, slots = args[3 * w + 2] + 0, args[3 * w + 3], args[3 * w + 4] + 0
    local index = math.floor(now_ms * slots / window_ms)
    local empty = 1000000000000000 + index % 4194304 * 1073741824
    local number = is_new and empty or tonumber(string.sub(value, bytes + 16 * w - 15, bytes + 16 * w)) or 0
    local left = limit + empty - number
    if not (left >= cost and (left < limit or is_new)) then return nil, value or 'TH2;' end
    digits = windows == 1 and number + cost or digits .. string.format('%d', number + cost)
    reply[2 * w + 3], reply[2 * w + 4] = left - cost, math.ceil((index + slots + 1) * window_ms / slots) - now_ms
  end
  if is_new then
    redis.call('SET', keys[1], string.format('%s%d', head, digits), 'PX', reply[6] + 1000)
  elseif cost > 0 and #value > 50 then
    redis.call('SETRANGE', keys[1], bytes, digits)
  elseif cost > 0 then
    digits = windows == 1 and string.format('%d', digits) or digits
    redis.call('SET', keys[1], head .. digits .. string.sub(value, bytes + 16 * windows + 1), 'KEEPTTL')
  end
  return reply, nil
end
