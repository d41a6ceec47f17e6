-- lib/throttle_uncount.lua: uncount an attempt of one account or device that made no guess.
local function throttle_uncount(key, began_ms)
  local found = redis.call('HMGET', key, 'n', 'c', 's', 'a')
  local recent, in_a_row = tonumber(found[1] or 0), tonumber(found[2] or 0)
  if in_a_row == 0 or began_ms < tonumber(found[3] or 0) then return end
  if in_a_row == 1 and recent <= 1 then
    redis.call('DEL', key)
    return
  end
  redis.call('HSET', key, 'n', math.max(recent - 1, 0), 'c', in_a_row - 1)
  if tonumber(found[4] or 0) == began_ms then redis.call('HSET', key, 'u', 0) end
end
