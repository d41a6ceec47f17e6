-- cache/renew.lua: extend a lease while its load goes on; a lease that is lost or another's is unchanged.
--
-- KEYS[1]  lease       string; the token of the load of the entry and 12 digits
-- ARGV[1]  now_ms      integer; unused here
-- ARGV[2]  token       text; the content of the lease when it was granted
-- ARGV[3]  lease_ms    integer >= 1; how long the lease lives from now
-- returns  {1 renewed | 0 lost}
-- expires  lease after lease_ms
-- cost     O(1), 1..2 commands
-- idempotent yes
-- flags    allow-oom

local lease = KEYS[1]
local token, lease_ms = ARGV[2], tonumber(ARGV[3])

local holder = redis.call('GET', lease)

if holder ~= token then return {0} end

return {redis.call('PEXPIRE', lease, lease_ms)}
