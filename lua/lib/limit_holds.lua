-- lib/limit_holds.lua: return the holds of `state`, and the position at which its counters begin.
--
-- A state has `hold/name=units,made_ms,held_ms;` for each hold after `TH1;`. The list has all of them. Those that are
-- over, or made more than a minute ahead, do not count; `units`, `number`, `text` and `last_ms` are of those that do.
local function limit_holds(state, now_ms)
  local holds, at = {units = 0, number = 0, text = '', last_ms = 0, discarded = 0}, 5
  local name, units, made_ms, held_ms, after = state:match('^hold/([%w_-]+)=(%d+),(%d+),(%d+);()', at)
  while name do
    local hold = {name = name, units = units + 0, made_ms = made_ms + 0, ends_ms = made_ms + held_ms, counts = false}
    holds[#holds + 1] = hold
    if hold.ends_ms > now_ms and hold.made_ms - now_ms > 60000 then
      holds.discarded = holds.discarded + 1
    elseif hold.ends_ms > now_ms then
      hold.counts, holds.units, holds.number = true, holds.units + units, holds.number + 1
      holds.text, holds.last_ms = holds.text .. state:sub(at, after - 1), math.max(holds.last_ms, hold.ends_ms)
    end
    at = after
    name, units, made_ms, held_ms, after = state:match('^hold/([%w_-]+)=(%d+),(%d+),(%d+);()', at)
  end
  return holds, at
end
