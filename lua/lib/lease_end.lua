-- lib/lease_end.lua: give the moment at which the lease `id` among those at `key` ends; 0 where there is none.
local function lease_end(key, id)
  if redis.call('TYPE', key).ok ~= 'zset' then return 0 end
  return tonumber(redis.call('ZSCORE', key, id) or 0)
end
