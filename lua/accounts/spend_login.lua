-- accounts/spend_login.lua: end a ticket whose second factor was right; of several calls one ends it.
--
-- KEYS[1]  ticket      hash; the login
-- ARGV[1]  now_ms      integer; unused, a ticket ends at once
-- returns  {spent 0 or 1}
-- expires  nothing is left
-- cost     O(1), 1 command
-- idempotent no
-- flags    allow-oom

local ticket = KEYS[1]
local _ = tonumber(ARGV[1])

local spent = redis.call('DEL', ticket)

return {spent}
