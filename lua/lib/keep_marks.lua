-- lib/keep_marks.lua: have marks that are made from now on kept until `end_ms`; include lib/is_ahead.lua first.
local function keep_marks(clock_key, end_ms, now_ms)
  local latest_ms = tonumber(redis.call('HGET', clock_key, 'x') or 0)
  if latest_ms < end_ms or not is_ahead(latest_ms, now_ms) then
    -- A second more, so that equal lifetimes do not write this at every call.
    redis.call('HSET', clock_key, 'x', string.format('%013d', end_ms + 1000))
  end
end
