-- lib/sweep_marks.lua: if a sweep is due, take one step of it: forget marks that are over; include lib/is_ahead.lua first.
--
-- Every mark up to t:* is redundant, because t:* hides all that was loaded before it. So t:* is raised to the youngest
-- mark that is forgotten, before that is deleted: whatever the clock says, a forgotten mark still hides what it hid.
local function sweep_marks(clock_key, due_ms, now_ms)
  if not due_ms or is_ahead(due_ms, now_ms) then return end
  local state = redis.call('HMGET', clock_key, 'c', 't:*', 'x')
  local began, covered = state[1] or '0', tonumber(string.sub(state[2] or '', 1, 12)) or 0
  local page = redis.call('HSCAN', clock_key, began, 'MATCH', 't:*', 'COUNT', 500)

  local marks, over, youngest, kept = page[2], {}, covered, false
  for i = 1, #marks, 2 do
    local sequence = tonumber(string.sub(marks[i + 1], 1, 12)) or 0
    local end_ms = tonumber(string.sub(marks[i + 1], 13, 25)) or 0
    if marks[i] ~= 't:*' and #over < 1000 and (sequence <= covered or not is_ahead(end_ms, now_ms)) then
      over[#over + 1] = marks[i]
      youngest = math.max(youngest, sequence)
    elseif marks[i] ~= 't:*' then
      kept = true
    end
  end

  if youngest > covered then redis.call('HSET', clock_key, 't:*', string.format('%012d%013d', youngest, now_ms)) end
  if #over > 0 then redis.call('HDEL', clock_key, unpack(over)) end
  if page[1] ~= '0' then
    redis.call('HSET', clock_key, 'c', page[1])
  elseif began == '0' and not kept then
    redis.call('HDEL', clock_key, 'c', 'w')
  else
    -- The next round begins after an eighth of the longest lifetime, so that no mark is looked at more than nine times.
    local ahead_ms = math.min(math.max(tonumber(state[3] or 0) - now_ms, 8000), 31 * 86400000)
    redis.call('HSET', clock_key, 'c', '0', 'w', string.format('%013d', now_ms + math.floor(ahead_ms / 8)))
  end
end
