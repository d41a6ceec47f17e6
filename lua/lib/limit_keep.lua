-- lib/limit_keep.lua: store `value` at `key` for `lifetime_ms`, or delete the key if it has no units and no holds.
local function limit_keep(key, value, lifetime_ms)
  if value == '' then
    redis.call('DEL', key)
  else
    redis.call('SET', key, value, 'PX', lifetime_ms)
  end
end
