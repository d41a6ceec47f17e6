-- lib/begun_reply.lua: return the reply that a session began: its times, its user and what its record has of its login.
local function begun_reply(record)
  local kept = redis.call('HMGET', record, 'c', 'x', 'w', 'u', 'p', 'dv', 'au')
  return {1, tonumber(kept[1]), tonumber(kept[2]), kept[1] + kept[3], kept[4], kept[5], kept[6], kept[7]}
end
