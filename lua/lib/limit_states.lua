-- lib/limit_states.lua: return the states at `keys`, equal keys once, and how many values are not ours.
local function limit_states(keys)
  local states, foreign = {}, 0
  for i = 1, #keys do
    local key = keys[i]
    if not states[key] then
      local state, odd = limit_state(key)
      states[key], foreign = state, foreign + odd
    end
  end
  return states, foreign
end
