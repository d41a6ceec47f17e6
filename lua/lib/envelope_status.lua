-- lib/envelope_status.lua: return 'hit', or why not; then the clock's epoch and sequence, and when a sweep is due.
local function envelope_status(envelope, clock_key, primary, now_ms)
  local stored_ms, fresh_until_ms = tonumber(string.sub(envelope, 3, 15)), tonumber(string.sub(envelope, 16, 28))
  local sequence, tags = tonumber(string.sub(envelope, 69, 80)), tonumber(string.sub(envelope, 81, 82))
  local readable = string.sub(envelope, 1, 2) == 'R1' and stored_ms and fresh_until_ms and sequence and tags
  local fields = {'e', 's', 'w', 't:*'}
  for i = 1, readable and tags or 0 do
    fields[4 + i] = 't:' .. string.sub(envelope, 67 + 16 * i, 82 + 16 * i)
  end
  local marks = redis.call('HMGET', clock_key, unpack(fields))

  local cause = 'hit'
  if envelope == '' then
    cause = 'absent'
  elseif not readable or stored_ms > now_ms + 60000 then
    cause = 'unusable'
  elseif now_ms >= fresh_until_ms then
    cause = 'absent'
  elseif string.sub(envelope, 37, 68) ~= (marks[1] or '') .. primary then
    cause = 'epoch'
  else
    for i = 4, #fields do
      if marks[i] and tonumber(string.sub(marks[i], 1, 12)) > sequence then cause = 'invalidated' end
    end
  end
  return cause, marks[1], tonumber(marks[2] or 0), tonumber(marks[3] or nil)
end
