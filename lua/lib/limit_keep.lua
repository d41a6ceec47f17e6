-- lib/limit_keep.lua: store `value` at `key` for so long; one that counts nothing and holds nothing is not kept.
local function limit_keep(key, value, lifetime_ms)
  if value == 'TH1;' then
    redis.call('DEL', key)
  else
    redis.call('SET', key, value, 'PX', lifetime_ms)
  end
end
