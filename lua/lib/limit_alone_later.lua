-- lib/limit_alone_later.lua: charge windows, a slot of which has ended, alone in a call; return the reply, else nil.
--
-- If there are several, each whose slot has ended is to lib/limit_later_slot.lua a state of its own, without a head; of
-- the others only the digits change. nil, before anything is written, if a window refuses, if a text is damaged or
-- unusual, or if the state has to tell an index whole (lib/limit_state_entry.lua).
local function limit_alone_later(key, cost, head, args, windows, now_ms, state, later_slot)
  if windows == 1 then
    local limit, window_ms, span = args[4] + 0, args[5] + 0, args[6] + 0
    local slots, step = span == 0 and 1 or span, 2 * (window_ms + 1)
    local index = math.floor(now_ms * slots / window_ms)
    local text, left = later_slot(state, head, limit, span, index, cost)
    if not text then return nil end
    local reset_ms = math.ceil((index + span + 1) * window_ms / slots) - now_ms
    redis.call('SET', key, text, 'PX', reset_ms + 1000)
    return limit * step < 9007199254740992 and -left * step - reset_ms or {0, 0, 0, 0, left, reset_ms}
  end

  local find, sub, digits_at, at = string.find, string.sub, #head + 1, #head + 16 * windows + 1
  local digits, tails, gap, longest_ms, shortest_ms, last_ms = '', '', '', 0, math.huge, 0
  local reply = {0, 0, 0, 0, 0, 0, 0, 0}
  if find(state, '/', at, true) then return nil end
  for w = 1, windows do
    local limit, window_ms, span = args[3 * w + 1] + 0, args[3 * w + 2] + 0, args[3 * w + 3] + 0
    local slots, stop = span == 0 and 1 or span, find(state, ';', at, true) or #state + 1
    local index, slot_ms = math.floor(now_ms * slots / window_ms), window_ms / slots
    local number, previous = sub(state, digits_at, digits_at + 15), sub(state, at, stop - 1)
    local left = limit + 1000000000000000 + index % 4194304 * 1073741824 - (tonumber(number) or 0)
    if left >= limit then
      local text
      text, left = later_slot(number .. previous, '', limit, span, index, cost)
      if not text then return nil end
      number, previous = sub(text, 1, 16), sub(text, 17)
    elseif left >= cost and previous ~= '0' then
      number, left = string.format('%d', number + cost), left - cost
    else
      return nil
    end
    digits, digits_at, at = digits .. number, digits_at + 16, stop + 1
    if previous ~= '' then tails, gap = tails .. gap .. previous, '' end
    local reset_ms = math.ceil((index + span + 1) * window_ms / slots) - now_ms
    gap, reply[2 * w + 3], reply[2 * w + 4] = gap .. ';', left, reset_ms
    if window_ms > longest_ms then longest_ms = window_ms end
    if slot_ms < shortest_ms then shortest_ms = slot_ms end
    if reset_ms > last_ms then last_ms = reset_ms end
  end
  if 2 * longest_ms + 1000 > 3145728 * shortest_ms then return nil end

  redis.call('SET', key, head .. digits .. tails, 'PX', last_ms + 1000)
  return reply
end
