-- lib/limit_gcra.lua: charge one window of gcra; return its new state, what is left and the ms until it is restored.
--
-- A state of this form begins with `head`. The level is one number, in 1/window_ms of a unit. nil if it may pass 2^53, if
-- the cost does not fit, or if the state is another's, is ahead of the clock or has holds.
local function limit_gcra(head, units, window_ms, burst, state, cost, now_ms)
  if cost == 0 or (burst + 1) * window_ms >= 9007199254740992 then return nil end
  local level = 0
  if state ~= 'TH2;' then
    if string.sub(state, 1, #head) ~= head then return nil end
    local index, total, fraction = string.match(state, '^(%d+);(%d+);(%d+);$', #head + 1)
    if not index or index + 0 > now_ms or total + 0 > burst then return nil end
    level = math.max(total * window_ms + fraction - (now_ms - index) * units, 0)
  end
  local left = burst - math.ceil(level / window_ms) - cost
  if left < 0 then return nil end
  level = level + cost * window_ms
  local fraction = level % window_ms
  local text = string.format('%s%d;%d;%d;', head, now_ms, (level - fraction) / window_ms, fraction)
  return text, left, math.ceil(level / units)
end
