-- lib/throttle_wait.lua: return how long the next attempt has to wait by the failures of one account or device.
local function throttle_wait(failures, rule, now_ms)
  if failures.in_a_row >= rule.row_max then return rule.wait_max_ms end
  return math.min(math.max(failures.until_ms - now_ms, 0), rule.wait_max_ms)
end
