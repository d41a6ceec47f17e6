-- lib/limit_holds.lua: read what is held at `now_ms` in `state`, and where its entries begin.
--
-- Behind `TH1;` stands `hold/name=units,made_ms,held_ms;` for each hold. One that is over, or made more than a minute
-- ahead, does not count: all are listed, with the units, the number, the text and the last end of those that do.
local function limit_holds(state, now_ms)
  local holds, at = {units = 0, number = 0, text = '', last_ms = 0, unbelieved = 0}, 5
  local name, units, made_ms, held_ms, after = state:match('^hold/([%w_-]+)=(%d+),(%d+),(%d+);()', at)
  while name do
    local hold = {name = name, units = units + 0, made_ms = made_ms + 0, ends_ms = made_ms + held_ms, counts = false}
    holds[#holds + 1] = hold
    if hold.ends_ms > now_ms and hold.made_ms - now_ms > 60000 then
      holds.unbelieved = holds.unbelieved + 1
    elseif hold.ends_ms > now_ms then
      hold.counts, holds.units, holds.number = true, holds.units + units, holds.number + 1
      holds.text, holds.last_ms = holds.text .. state:sub(at, after - 1), math.max(holds.last_ms, hold.ends_ms)
    end
    at = after
    name, units, made_ms, held_ms, after = state:match('^hold/([%w_-]+)=(%d+),(%d+),(%d+);()', at)
  end
  return holds, at
end
