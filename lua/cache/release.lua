-- cache/release.lua: end a lease whose load failed, so that the next reader may load; another's lease stays.
--
-- KEYS[1]  lease       string; the token of the load of the entry and 12 digits
-- ARGV[1]  now_ms      integer; unused here
-- ARGV[2]  token       text; the content of the lease, or only its token if its grant was never answered
-- returns  {1 released | 0 lost before}
-- expires  nothing is written
-- cost     O(1), 1..2 commands
-- idempotent yes
-- flags    allow-oom

local lease = KEYS[1]
local token = ARGV[2]

local holder = redis.call('GET', lease)

if not holder or string.sub(holder, 1, #token) ~= token then return {0} end

return {redis.call('DEL', lease)}
