-- lib/storable.lua: return whether an envelope may be stored, and the clock's sequence; include lib/envelope_status.lua first.
local function storable(envelope, clock_key, primary, now_ms)
  local cause, _, sequence = envelope_status(envelope, clock_key, primary, now_ms)
  local barred = tonumber(string.sub(redis.call('HGET', clock_key, 't:?') or '', 1, 12)) or 0
  return cause == 'hit' and barred <= tonumber(string.sub(envelope, 69, 80)), sequence
end
