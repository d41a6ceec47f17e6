-- limits/begin_guess.lua: charge an attempt as a failure before its outcome is known; a refusal charges nothing.
--
-- A trusted device is counted alone, and nothing that others do refuses it. Every other client is counted by the account
-- and by each window; if one of them refuses, none is charged.
--
-- KEYS[1]  account     hash; the failures at one name, of clients without a trusted device
-- KEYS[2]  ended       string; devices that were issued until this time, in ms, are not trusted
-- KEYS[3]  device      hash; the failures of the device; not touched if issued_ms is 0
-- KEYS[i+3]            hash; the failures of many accounts by the index of their sub-bucket: window i
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  issued_ms   integer; when the device was issued; 0 without a device
-- ARGV[3]  kept_ms     integer >= 1; how long a device is trusted, and a whole row of failures is remembered
-- ARGV[4]  row_max     integer 1..1000; failures in a row after which all attempts are refused
-- ARGV[5]  free        integer >= 1; the failure of an account that begins the first wait
-- ARGV[6]  wait_ms     integer >= 1; the first wait, which doubles with each failure
-- ARGV[7]  wait_max_ms integer >= 1; the longest wait
-- ARGV[8]  memory_ms   integer >= 1; the time without a failure after which waits begin anew
-- ARGV[9]  allowed     integer >= 1; the failure of a device that ends its trust
-- ARGV[10] rest_ms     integer >= 1; the time after that, and between failures in a row
-- ARGV[2i+9..2i+10]    failures and window_ms of window i, integers >= 1, window_ms in whole seconds
-- returns  {trusted 0 or 1, now_ms, wait_ms of the device, of the account, of each window}, or the first three
-- expires  account and device: the longer, the more failures, up to kept_ms; a window after window_ms and a tenth
-- cost     O(windows), 4 commands for each
-- idempotent no
-- flags    none
-- twin     accounts/throttling/failures.py: wait_of, charged
--#include lib/now.lua
--#include lib/throttle_failures.lua
--#include lib/throttle_wait.lua
--#include lib/throttle_charge.lua
--#include lib/throttle_window.lua
--#include lib/throttle_count.lua

local account, ended, device = KEYS[1], KEYS[2], KEYS[3]
local now_ms, issued_ms = clock(tonumber(ARGV[1])), tonumber(ARGV[2])
local kept_ms, row_max, free = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local wait_ms, wait_max_ms, memory_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local allowed, rest_ms = tonumber(ARGV[9]), tonumber(ARGV[10])

local device_wait_ms = 0
if issued_ms > 0 then
  local rule = {
    free = allowed, wait_ms = rest_ms, wait_max_ms = rest_ms, memory_ms = rest_ms, row_max = row_max, kept_ms = kept_ms,
  }
  local failures = throttle_failures(device, rest_ms, now_ms)
  device_wait_ms = throttle_wait(failures, rule, now_ms)
  if issued_ms + kept_ms <= now_ms or issued_ms <= tonumber(redis.call('GET', ended) or 0) then device_wait_ms = rest_ms end
  if device_wait_ms == 0 then
    throttle_charge(device, failures, rule, now_ms)
    return {1, now_ms, 0}
  end
end

local rule = {
  free = free, wait_ms = wait_ms, wait_max_ms = wait_max_ms, memory_ms = memory_ms, row_max = row_max, kept_ms = kept_ms,
}
local failures, windows = throttle_failures(account, memory_ms, now_ms), {}
local longest_ms = throttle_wait(failures, rule, now_ms)
local reply = {0, now_ms, device_wait_ms, longest_ms}
for i = 1, #KEYS - 3 do
  windows[i] = throttle_window(KEYS[i + 3], tonumber(ARGV[2 * i + 9]), tonumber(ARGV[2 * i + 10]), now_ms)
  reply[i + 4], longest_ms = windows[i].wait_ms, math.max(longest_ms, windows[i].wait_ms)
end

if longest_ms > 0 then return reply end

throttle_charge(account, failures, rule, now_ms)
for i = 1, #KEYS - 3 do throttle_count(KEYS[i + 3], windows[i]) end
return reply
