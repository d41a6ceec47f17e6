-- lib/envelope_status.lua: return 'hit', or why not; then the clock's epoch and sequence, and when a sweep is due.
--
-- Include lib/envelope_cause.lua first. An envelope that is missing is '' or false.
local function envelope_status(envelope, clock_key, primary, now_ms)
  local tags, marks = envelope and string.sub(envelope, 81, 82), nil
  if not tags or tags == '00' then
    marks = redis.call('HMGET', clock_key, 'e', 's', 'w', 't:*')
  else
    local fields = {'e', 's', 'w', 't:*'}
    for i = 1, tonumber(tags) or 0 do
      fields[4 + i] = 't:' .. string.sub(envelope, 67 + 16 * i, 82 + 16 * i)
    end
    marks = redis.call('HMGET', clock_key, unpack(fields))
  end
  local floor = marks[4] and tonumber(string.sub(marks[4], 1, 12))
  local cause = envelope_cause(envelope, (marks[1] or '') .. primary, floor, marks, 4, now_ms)
  return cause, marks[1], tonumber(marks[2] or 0), tonumber(marks[3] or nil)
end
