-- lib/limit_retain.lua: keep the state of a take that was refused as long as it refuses; its bytes stay as they are.
--
-- It was stored for as long as its limit needed then. For gcra, a limit that was lowered since needs longer.
local function limit_retain(key, windows, retry_after_ms, lifetime_ms)
  if retry_after_ms <= 0 or windows[1].algorithm ~= 'gcra' then return end
  if redis.call('PTTL', key) < lifetime_ms then redis.call('PEXPIRE', key, lifetime_ms) end
end
