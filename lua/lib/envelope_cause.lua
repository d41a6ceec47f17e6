-- lib/envelope_cause.lua: return 'hit', or why an envelope is none; its tags have their marks behind `at`, the last of which is returned.
--
-- `place` is the epoch of the clock and the primary; `floor` the sequence of the mark of everything, or false.
local function envelope_cause(envelope, place, floor, marks, at, now_ms)
  if not envelope or envelope == '' then return 'absent', at end
  local stored_ms, fresh_until_ms = tonumber(string.sub(envelope, 3, 15)), tonumber(string.sub(envelope, 16, 28))
  local sequence, tags = tonumber(string.sub(envelope, 69, 80)), tonumber(string.sub(envelope, 81, 82))
  local cause = 'hit'
  if not (stored_ms and fresh_until_ms and sequence and tags) or string.sub(envelope, 1, 2) ~= 'R1' then
    cause = 'unusable'
  elseif stored_ms > now_ms + 60000 then
    cause = 'unusable'
  elseif now_ms >= fresh_until_ms then
    cause = 'absent'
  elseif string.sub(envelope, 37, 68) ~= place then
    cause = 'epoch'
  elseif floor and floor > sequence then
    cause = 'invalidated'
  end
  for _ = 1, tags or 0 do
    at = at + 1
    local mark = marks[at]
    if mark and cause == 'hit' and tonumber(string.sub(mark, 1, 12)) > sequence then cause = 'invalidated' end
  end
  return cause, at
end
