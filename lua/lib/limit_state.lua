-- lib/limit_state.lua: return the state at `key` and 0; an empty one and 1 if the value is not one of ours.
--
-- A caller that has read a text gives it. There are two forms. `TH2;` is for algorithms with slots, if there is no
-- hold and the newest slot of each window has units: a take in the same slots then changes only digits, and the key
-- lives long enough. It has the names of all windows, 16 digits for each, and for each its previous units, with `;`
-- between them (lib/limit_state_entry.lua). `TH1;` is for all others (lib/limit_read.lua, lib/limit_holds.lua).
local function limit_state(key, value)
  value = value or redis.pcall('GET', key)
  if not value then return 'TH2;', 0 end
  if type(value) == 'string' then
    local form = value:sub(1, 4)
    if form == 'TH2;' or form == 'TH1;' and value:byte(-1) == 59 then return value, 0 end
    return 'TH2;', 1
  end
  local kind = redis.call('TYPE', key).ok
  -- The type is right, so the server or its access rules refused: this call raises what pcall caught.
  if kind == 'string' or kind == 'none' then redis.call('GET', key) end
  return 'TH2;', 1
end
