-- accounts/confirm.lua: make a pending record an account; if it is gone or another's, nothing is written.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, the account began when it was made
-- ARGV[2]  revision    text, 1..64 characters; the one that it was made with
-- returns  {confirmed 0 or 1}
-- expires  never: an account lives until it is deleted
-- cost     O(1), 3 commands
-- idempotent yes
-- flags    none

local account = KEYS[1]
local _ = tonumber(ARGV[1])
local revision = ARGV[2]

local found = redis.call('HMGET', account, 'v', 'n')

if found[1] ~= revision then return {0} end
if tonumber(found[2] or 0) >= 0 then return {1} end

redis.call('HSET', account, 'n', 0)
redis.call('PERSIST', account)
return {1}
