-- lib/limit_read.lua: copy the counters of `state`, from position `at` on, into their windows; skip the others.
--
-- After the holds, a state has for all its windows first `name=index;`, then `total;`, then `sum;`. The index is that
-- of the newest slot. The sum is that of the previous slots, and `,slot:units` follows it for each of them, oldest
-- first; the slot is its index modulo span + 1, which is unique among those that count. For gcra the index is a time in
-- ms, the total is in whole units, and the sum is the fraction of one more, in 1/window_ms.
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
    local previous = state:sub(at, stop - 1)
    read[i].sum, read[i].previous, at = (previous:match('^%d+') or 0) + 0, previous, stop + 1
  end
end
