-- lib/data_fits.lua: return the version, bytes and names of a session's data after a change; nil if those exceed the bounds.
--
-- An empty value is none, before and after: what is stored is JSON, which is never empty.
local function data_fits(record, most_bytes, most_names, names, values)
  local counts = redis.call('HMGET', record, 'g', 'z', 'k')
  local before = redis.call('HMGET', record, unpack(names))
  local bytes, number, grows = tonumber(counts[2] or 0), tonumber(counts[3] or 0), false
  for i, name in ipairs(names) do
    local old, new = before[i] or '', values[i]
    bytes = bytes - (old ~= '' and #old + #name or 0) + (new ~= '' and #new + #name or 0)
    number = number - (old ~= '' and 1 or 0) + (new ~= '' and 1 or 0)
    grows = grows or #new > #old
  end
  if grows and (bytes > most_bytes or number > most_names) then return nil end
  return tonumber(counts[1]) + 1, bytes, number
end
