-- lib/secret_state.lua: return what a secret is: 1 the session's, 6 its former in its grace, 5 that too late, 2 another.
--
-- The former one is good until its successor was presented, since a lost answer is no theft, and for its grace from then:
-- its end is below 0 until then.
local function secret_state(session, record, verifier, now_ms)
  if verifier == session.verifier then return 1 end
  local former = redis.call('HMGET', record, 'hp', 'hpx')
  if verifier ~= former[1] then return 2 end
  local end_ms = tonumber(former[2])
  return (end_ms < 0 or now_ms <= end_ms) and 6 or 5
end
