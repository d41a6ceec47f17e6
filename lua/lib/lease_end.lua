-- lib/lease_end.lua: return when the lease `id` at `key` ends; 0 if there is none.
local function lease_end(key, id)
  if redis.call('TYPE', key).ok ~= 'zset' then return 0 end
  return tonumber(redis.call('ZSCORE', key, id) or 0)
end
