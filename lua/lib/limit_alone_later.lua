-- lib/limit_alone_later.lua: charge one window whose slot has ended, alone in its call, and return the reply; else nil.
local function limit_alone_later(key, cost, head, args, now_ms, state, later_slot)
  local limit, window_ms, span = args[4] + 0, args[5] + 0, args[6] + 0
  local slots, step = span == 0 and 1 or span, 2 * (window_ms + 1)
  local index = math.floor(now_ms * slots / window_ms)
  local text, left = later_slot(state, head, limit, span, index, cost)
  if not text then return nil end

  local reset_ms = math.ceil((index + span + 1) * window_ms / slots) - now_ms
  redis.call('SET', key, text, 'PX', reset_ms + 1000)
  return limit * step < 9007199254740992 and -left * step - reset_ms or {0, 0, 0, 0, left, reset_ms}
end
