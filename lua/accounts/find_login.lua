-- accounts/find_login.lua: return the login of a ticket that has attempts left, or nothing; nothing is changed.
--
-- KEYS[1]  ticket      hash; the login
-- ARGV[1]  now_ms      integer; unused, the key expires at the ticket's end
-- ARGV[2]  attempts    integer >= 1; how many a ticket has
-- returns  {login}, or {} if the ticket opens nothing
-- expires  nothing is written
-- cost     O(1), 1 command
-- idempotent yes
-- flags    no-writes

local ticket = KEYS[1]
local _, attempts = tonumber(ARGV[1]), tonumber(ARGV[2])

local found = redis.call('HMGET', ticket, 'login', 'tried')

if not found[1] or tonumber(found[2] or 0) >= attempts then return {} end

return {found[1]}
