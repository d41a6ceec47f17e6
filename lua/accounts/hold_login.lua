-- accounts/hold_login.lua: keep a login whose password was right under a ticket, until its second factor follows.
--
-- A second run finds the login that it wrote itself, because no other has its ticket, and replies the same.
--
-- KEYS[1]  ticket      hash; the login
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  login       text; what the client asked for
-- ARGV[3]  life_ms     integer >= 1; how long the ticket is good
-- returns  {the ticket's end in ms}
-- expires  ticket, life_ms after the call
-- cost     O(1), 3 commands
-- idempotent yes
-- flags    none
--#include lib/now.lua

local ticket = KEYS[1]
local now_ms, login, life_ms = clock(tonumber(ARGV[1])), ARGV[2], tonumber(ARGV[3])

local present = redis.call('HGET', ticket, 'end_ms')

if present then return {tonumber(present)} end

redis.call('HSET', ticket, 'login', login, 'end_ms', now_ms + life_ms)
redis.call('PEXPIRE', ticket, life_ms)
return {now_ms + life_ms}
