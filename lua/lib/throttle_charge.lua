-- lib/throttle_charge.lua: count one failure more of an account or a device, before the outcome is known.
local function throttle_charge(key, failures, rule, now_ms)
  local recent, in_a_row = failures.recent + 1, failures.in_a_row + 1
  local since_ms = failures.in_a_row > 0 and failures.since_ms or now_ms
  local doublings, until_ms = math.min(recent - rule.free, 40), 0
  if doublings >= 0 then until_ms = now_ms + math.min(rule.wait_ms * 2 ^ doublings, rule.wait_max_ms) end
  redis.call('HSET', key, 'n', recent, 'c', in_a_row, 's', since_ms, 'a', now_ms, 'u', until_ms)
  local share_ms = math.floor(rule.kept_ms * math.min(in_a_row, rule.row_max) / rule.row_max)
  redis.call('PEXPIRE', key, math.max(share_ms, rule.memory_ms, rule.wait_max_ms))
end
