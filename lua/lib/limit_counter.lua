-- lib/limit_counter.lua: charge one window of sliding-window-counter, and write the reply; return the new state.
--
-- The second value is its lifetime. nil if a product may pass 2^53, if the cost does not fit, or if the state is ahead of
-- the clock or has holds.
local function limit_counter(args, at, state, cost, now_ms, reply, size)
  local limit, window_ms = args[at] + 0, args[at + 1] + 0
  if cost == 0 or limit * window_ms >= 9007199254740992 then return nil end
  local name, now_index = 'TH1;sliding-window-counter/' .. args[at + 1] .. '=', math.floor(now_ms / window_ms)
  local current, previous = 0, 0
  if state ~= 'TH2;' then
    if state:sub(1, #name) ~= name then return nil end
    local index, total, sum = state:match('^(%d+);(%d+);(%d+)[^;]*;$', #name + 1)
    if not index or index + 0 > now_index or total + 0 > limit or sum + 0 > total + 0 then return nil end
    if index + 0 == now_index then
      current, previous = total - sum, sum + 0
    elseif index + 1 == now_index then
      previous = total - sum
    end
  end
  local counts = previous - math.floor((now_ms - now_index * window_ms) * previous / window_ms)
  local left, restored_ms = limit - current - counts - cost, (now_index + 2) * window_ms - now_ms
  if left < 0 then return nil end
  reply[size + 1], reply[size + 2], reply[size + 3], reply[size + 4] = 0, 0, left, restored_ms
  local before = previous == 0 and '0' or string.format('%d,%d:%d', previous, (now_index + 1) % 2, previous)
  return string.format('%s%d;%d;%s;', name, now_index, current + previous + cost, before), restored_ms + 1000
end
