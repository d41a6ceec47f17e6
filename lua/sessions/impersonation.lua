-- sessions/impersonation.lua: return which session began the impersonation that a secret opens, or did; changes nothing.
--
-- An impersonation that is over leads back all the same, for the 24 hours that its memo stays.
--
-- KEYS[1]  record      hash; the impersonation
-- KEYS[2]  memo        hash; what stays of it for 24 hours after its end
-- ARGV[1]  now_ms      integer; unused
-- ARGV[2]  digest      text, 32 hex digits; stands for the user in key names
-- ARGV[3]  verifier    text, 48 hex digits
-- returns  {0} unknown, another secret or no impersonation, {1, actor_sid, user, or empty if it is gone}
-- expires  nothing is written
-- cost     O(1), 2 commands
-- idempotent yes
-- flags    no-writes

local record, memo = KEYS[1], KEYS[2]
local _ = tonumber(ARGV[1])
local digest, verifier = ARGV[2], ARGV[3]

local found = redis.call('HMGET', memo, 'd', 'h', 'by')
local own = redis.call('HMGET', record, 'd', 'u')

if found[1] ~= digest or found[2] ~= verifier or not found[3] then return {0} end
return {1, found[3], own[1] == digest and own[2] or ''}
