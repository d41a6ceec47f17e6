-- lib/limit_read.lua: copy the counters of `state`, from position `at` on, into their windows; skip the others.
--
-- lib/limit_state.lua describes the form `TH2;`. A `TH1;` state has after its holds for all windows first `name=index;`,
-- whose name has ms instead of seconds, then `total;`, then `sum;`. The index is that of the newest slot. The sum is that
-- of the previous slots, and `,slot:units` follows it for each of them, oldest first; the slot is its index modulo span
-- + 1, which is unique among those that count. For gcra the index is a time in ms, the total is in whole units, and the
-- sum is the fraction of one more, in 1/window_ms.
local function limit_read(named, state, at)
  local read, many, digits_at = {}, 0, at
  local name, after = state:match('^([^=;,]+=)()', at)
  if state:byte(3) == 50 then
    while name do
      many, digits_at = many + 1, after
      read[many] = named[name] or {now_index = 0}
      name, after = state:match('^([^=;,]+=)()', digits_at)
    end
    at = digits_at + 16 * many
    for i = 1, many do
      local window, index = read[i], nil
      index, window.total, window.previous, at = limit_state_window(state, digits_at, at, window.now_index)
      window.index, window.sum = index or window.now_index, (window.previous:match('^%d+') or 0) + 0
      digits_at = digits_at + 16
    end
    return
  end

  local index
  name, index, after = state:match('^([^=;]+=)([^;]*);()', at)
  while name do
    index, many, at = tonumber(index), many + 1, after
    read[many] = index and named[name:gsub('^(%D*%d+)000', '%1')] or {}
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
