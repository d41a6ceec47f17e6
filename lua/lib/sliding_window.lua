-- lib/sliding_window.lua: bring `window` to what `state` counts at `now_ms`; give where the next entry may begin.
--
-- A state is `TH1;` and its entries. An entry is `window_ms/resolution=index,current,sum`, where the sum is that of
-- the older sub-buckets, then `,slot:units` for each of them, oldest first, and `;`. The slot is the last three
-- digits of an index. Whatever follows `current` is carried over as it is while the index stands, so that the
-- common take parses no older sub-bucket.
local function sliding_window(window, state, from, now_ms)
  local present, n = window.present_index, window.resolution
  local index, current, at, sum = present, state:match(window.present, from)
  if not current then
    local _, named = state:find(';' .. window.name, 1, true)
    if named then index, current, at, sum = state:match('^(%d+),(%d+)(),(%d+)', named + 1) end
    if not current then
      window.index, window.current, window.total, window.older, window.ahead_ms = present, 0, 0, ',0;', 0
      return from
    end
  end
  index, current, sum = tonumber(index), tonumber(current), tonumber(sum)
  local stop, ahead_ms = state:find(';', at, true), 0
  local older = state:sub(at, stop)

  if index > present then
    ahead_ms = math.ceil(index * window.window_ms / n) - now_ms
  elseif index < present then
    sum = sum + current
    older = older:sub(1, -2) .. ',' .. index % 1000 .. ':' .. current .. ';'
    local kept = #older
    for place, slot, units in older:gmatch('(),(%d+):(%d+)') do
      if index - (index - slot) % 1000 >= present - n then
        kept = place
        break
      end
      sum = sum - units
    end
    index, current, older = present, 0, ',' .. sum .. older:sub(kept)
  end
  window.index, window.current, window.total = index, current, current + sum
  window.older, window.ahead_ms = older, ahead_ms
  return stop + 1
end
