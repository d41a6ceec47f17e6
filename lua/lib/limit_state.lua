-- lib/limit_state.lua: read the state at `key`, and 0; where the value is not one of ours, nothing and 1.
local function limit_state(key)
  local value = redis.pcall('GET', key)
  if not value then return '', 0 end
  if type(value) == 'string' then
    if value:sub(1, 4) == 'TH1;' and value:byte(-1) == 59 then return value, 0 end
    return '', 1
  end
  local kind = redis.call('TYPE', key).ok
  -- No wrong type, so something is wrong with the server or its rights: the call raises what pcall caught.
  if kind == 'string' or kind == 'none' then redis.call('GET', key) end
  return '', 1
end
