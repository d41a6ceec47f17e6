-- accounts/try_login.lua: charge an attempt to a ticket and return its login; one without attempts left stays as it is.
--
-- KEYS[1]  ticket      hash; the login
-- ARGV[1]  now_ms      integer; unused, the key expires at the ticket's end
-- ARGV[2]  attempts    integer >= 1; how many a ticket has
-- returns  {login}, or {} if the ticket opens nothing
-- expires  ticket as before
-- cost     O(1), 2 commands
-- idempotent no
-- flags    none

local ticket = KEYS[1]
local _, attempts = tonumber(ARGV[1]), tonumber(ARGV[2])

local found = redis.call('HMGET', ticket, 'login', 'tried')

if not found[1] or tonumber(found[2] or 0) >= attempts then return {} end

redis.call('HINCRBY', ticket, 'tried', 1)
return {found[1]}
