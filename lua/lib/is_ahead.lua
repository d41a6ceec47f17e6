-- lib/is_ahead.lua: return whether a time is still to come; one further ahead than any expiry is a clock's mistake.
local function is_ahead(at_ms, now_ms)
  return at_ms > now_ms and at_ms <= now_ms + 31 * 86400000
end
