-- limits/settle_guess.lua: uncount an attempt that was no failure; after a right one its counts of failures begin anew.
--
-- A right attempt that the account did not count ends its row alone: the waits of the clients that it counts go on.
-- Windows, which count many accounts, only lose the attempt itself.
--
-- KEYS[1]  counted     hash; the account or the device that limits/begin_guess charged
-- KEYS[2]  account     hash; the account; a right attempt ends its row of failures too
-- KEYS[i+2]            hash; window i, if limits/begin_guess charged it
-- ARGV[1]  now_ms      integer; unused, the attempt has its own time
-- ARGV[2]  began_ms    integer; the time that limits/begin_guess replied
-- ARGV[3]  right       0 or 1
-- ARGV[i+3]            window_ms of window i, integer >= 1
-- returns  {1}
-- expires  nothing later than limits/begin_guess said
-- cost     O(windows), 2 commands for each
-- idempotent no
-- flags    allow-oom
-- twin     accounts/throttling/failures.py: uncounted
--#include lib/throttle_uncount.lua
--#include lib/throttle_end_row.lua

local counted, account = KEYS[1], KEYS[2]
local _, began_ms, right = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

if right == 1 then
  redis.call('DEL', counted)
  throttle_end_row(account)
else
  throttle_uncount(counted, began_ms)
end

for i = 1, #KEYS - 2 do
  local index = string.format('%d', math.floor(began_ms / (tonumber(ARGV[i + 3]) / 10)))
  if tonumber(redis.call('HGET', KEYS[i + 2], index) or 0) > 0 then redis.call('HINCRBY', KEYS[i + 2], index, -1) end
end
return {1}
