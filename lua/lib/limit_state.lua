-- lib/limit_state.lua: return the state at `key` and 0; '' and 1 if the value is not one of ours.
local function limit_state(key)
  local value = redis.pcall('GET', key)
  if not value then return '', 0 end
  if type(value) == 'string' then
    if value:sub(1, 4) == 'TH1;' and value:byte(-1) == 59 then return value, 0 end
    return '', 1
  end
  local kind = redis.call('TYPE', key).ok
  -- The type is right, so the server or its access rules refused: this call raises what pcall caught.
  if kind == 'string' or kind == 'none' then redis.call('GET', key) end
  return '', 1
end
