-- cache/sweep.lua: remove the entries that no read would return; those that are valid stay.
--
-- KEYS[1]  clock_key   hash; e epoch, s sequence, t:* and t:<tag> marks
-- KEYS[2..]            strings; the entries
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  primary     text; the replication id of the primary
-- returns  {entries that were removed}
-- expires  nothing is written
-- cost     O(entries * tags), 3 commands at most for each entry
-- idempotent yes
-- flags    allow-oom
--#include lib/now.lua
--#include lib/envelope_cause.lua
--#include lib/envelope_status.lua

local clock_key = KEYS[1]
local now_ms = clock(tonumber(ARGV[1]))
local primary = string.format('%-16.16s', ARGV[2])

local removed = 0
for i = 2, #KEYS do
  -- The longest header has 99 tags.
  local header = redis.call('GETRANGE', KEYS[i], 0, 1665)
  local cause = envelope_status(header, clock_key, primary, now_ms)
  if header ~= '' and cause ~= 'hit' then removed = removed + redis.call('UNLINK', KEYS[i]) end
end
return {removed}
