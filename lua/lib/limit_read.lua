-- lib/limit_read.lua: put what `state` says from `at` on into the windows that it names; whatever else it has is left.
--
-- A state is `TH1;`, what is held, and then of all its windows first `name=index;`, then `total;`, then `sum;`. The
-- index is that of the newest part; the sum is that of the parts before it, and `,slot:units` follows it for each of
-- them, oldest first. A slot is the index modulo reach + 1, by which those differ that count. Of gcra the index is a
-- time in ms, the total is in whole units, and the sum is what there is of one more, in parts of 1/window_ms.
local function limit_read(named, state, at)
  local read, many = {}, 0
  local name, index, after = state:match('^([^=;]+=)([^;]*);()', at)
  while name do
    index, many, at = tonumber(index), many + 1, after
    read[many] = index and named[name] or {}
    read[many].index = index
    name, index, after = state:match('^([^=;]+=)([^;]*);()', at)
  end
  for i = 1, many do
    local total, behind = state:match('^(%d+);()', at)
    read[i].total, at = (total or 0) + 0, behind or at
  end
  for i = 1, many do
    local stop = state:find(';', at, true)
    if not stop then return end
    local older = state:sub(at, stop - 1)
    read[i].sum, read[i].older, at = (older:match('^%d+') or 0) + 0, older, stop + 1
  end
end
