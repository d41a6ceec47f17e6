-- cache/release.lua: end a lease whose load failed, so that the next reader may load; another's lease stays.
--
-- KEYS[1]  lease       string; the token of the load of the entry
-- ARGV[1]  now_ms      integer; unused here
-- ARGV[2]  token       text, 24 hex digits
-- returns  {1 released | 0 lost before}
-- expires  nothing is written
-- cost     O(1), 1..2 commands
-- idempotent yes
-- flags    allow-oom

local lease = KEYS[1]
local token = ARGV[2]

local holder = redis.call('GET', lease)

if holder ~= token then return {0} end

return {redis.call('DEL', lease)}
