-- lib/store_entry.lua: store an envelope that is storable at `sequence`; include lib/keep_marks.lua first.
local function store_entry(entry, envelope, keep_ms, clock_key, sequence, now_ms)
  redis.call('SET', entry, envelope, 'PX', keep_ms)
  -- No mark up to this sequence applies to it: so none is kept for it, and forgetting them does not hide it.
  if tonumber(string.sub(envelope, 69, 80)) < sequence then
    redis.call('SETRANGE', entry, 68, string.format('%012d', sequence))
  end
  keep_marks(clock_key, now_ms + keep_ms, now_ms)
end
