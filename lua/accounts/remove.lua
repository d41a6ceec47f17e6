-- accounts/remove.lua: remove a record that is pending, or whose account has moved on, at once or soon; another one stays.
--
-- What has moved on stays for a moment: a login that reads two keys, and the other one first, is to find it here. It
-- does not change any more, so its moves tell it from others.
--
-- KEYS[1]  account     hash; the account
-- ARGV[1]  now_ms      integer; unused, an expiry is relative
-- ARGV[2]  moves       integer >= -1; those of the record
-- ARGV[3]  revision    text, 0..64 characters; that of the record, or empty
-- ARGV[4]  linger_ms   integer 0..60000; after so long
-- returns  {removed 0 or 1}
-- expires  the record, after linger_ms
-- cost     O(1), 2 commands
-- idempotent yes
-- flags    allow-oom

local account = KEYS[1]
local _ = tonumber(ARGV[1])
local moves, revision, linger_ms = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])

local found = redis.call('HMGET', account, 'h', 'v', 'n', 'to')

if not found[1] or (found[2] or '') ~= revision or tonumber(found[3] or 0) ~= moves then return {0} end
if moves >= 0 and not found[4] then return {0} end

redis.call('PEXPIRE', account, linger_ms)
return {1}
