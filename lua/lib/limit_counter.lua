-- lib/limit_counter.lua: charge one window of sliding-window-counter; return what lib/limit_gcra.lua does.
--
-- nil if a product may pass 2^53, if the cost does not fit, or if the state is another's, is ahead of the clock or has
-- holds.
local function limit_counter(head, limit, window_ms, _, state, cost, now_ms)
  if cost == 0 or limit * window_ms >= 9007199254740992 then return nil end
  local now_index, current, previous = math.floor(now_ms / window_ms), 0, 0
  if state ~= 'TH2;' then
    if string.sub(state, 1, #head) ~= head then return nil end
    local index, total, sum = string.match(state, '^(%d+);(%d+);(%d+)[^;]*;$', #head + 1)
    if not index or index + 0 > now_index or total + 0 > limit or sum + 0 > total + 0 then return nil end
    if index + 0 == now_index then
      current, previous = total - sum, sum + 0
    elseif index + 1 == now_index then
      previous = total - sum
    end
  end
  local passed_ms = now_ms - now_index * window_ms
  local left = limit - current - cost - previous + math.floor(passed_ms * previous / window_ms)
  if left < 0 then return nil end
  local before = previous == 0 and '0' or string.format('%d,%d:%d', previous, (now_index + 1) % 2, previous)
  local text = string.format('%s%d;%d;%s;', head, now_index, current + previous + cost, before)
  return text, left, 2 * window_ms - passed_ms
end
