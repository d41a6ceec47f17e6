-- accounts/spend_challenge.lua: note that a challenge was answered; of several calls one spends it.
--
-- A call that is repeated finds its own name, and replies the same.
--
-- KEYS[1]  spent       string; the name of the call that spent the challenge
-- ARGV[1]  now_ms      integer; unused, the mark ends by its own time
-- ARGV[2]  call        text; the name of this call, random
-- ARGV[3]  life_ms     integer >= 1; how long it is known
-- returns  {spent by this call 0 or 1}
-- expires  spent, life_ms after the call
-- cost     O(1), 2 commands
-- idempotent yes
-- flags    none

local spent = KEYS[1]
local _, call, life_ms = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local first = redis.call('GET', spent)

if first then return {first == call and 1 or 0} end

redis.call('SET', spent, call, 'PX', life_ms)
return {1}
