-- lib/limit_gcra.lua: charge one window of gcra, and write the reply; return the new state and its lifetime.
--
-- The level is one number, in 1/window_ms of a unit. nil if it may pass 2^53, if the cost does not fit, or if the state
-- is ahead of the clock or has holds.
local function limit_gcra(args, at, state, cost, now_ms, reply, size)
  local units, window_ms, burst = args[at] + 0, args[at + 1], args[at + 2] + 0
  if cost == 0 or (burst + 1) * window_ms >= 9007199254740992 then return nil end
  local name, level = 'TH1;gcra/' .. window_ms .. '=', 0
  if state ~= 'TH2;' then
    if state:sub(1, #name) ~= name then return nil end
    local index, total, fraction = state:match('^(%d+);(%d+);(%d+);$', #name + 1)
    if not index or index + 0 > now_ms or total + 0 > burst then return nil end
    level = math.max(total * window_ms + fraction - (now_ms - index) * units, 0)
  end
  local left = burst - math.ceil(level / window_ms) - cost
  if left < 0 then return nil end
  level = level + cost * window_ms
  local total, restored_ms = math.floor(level / window_ms), math.ceil(level / units)
  reply[size + 1], reply[size + 2], reply[size + 3], reply[size + 4] = 0, 0, left, restored_ms
  return string.format('%s%d;%d;%d;', name, now_ms, total, level - total * window_ms), restored_ms + 1000
end
