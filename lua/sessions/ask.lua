-- sessions/ask.lua: keep a login that the cap held back under a ticket, in place of the user's former one; a disabled user gets none.
--
-- A ticket lives in the epochs of now, so what raises one of them ends it, too. A second run finds its own and changes
-- nothing, also if it was used in the meantime.
--
-- KEYS[1]  ticket      hash; the login: what is the ticket's own has an @ before it
-- KEYS[2]  epoch       hash; ep in ms, dis = 1 while the user is disabled
-- KEYS[3]  all_users   hash; ep in ms, for all users
-- ARGV[1]  now_ms      integer; 0 means the server's clock
-- ARGV[2]  verifier    text, 48 hex digits; of the ticket's secret
-- ARGV[3]  user        text, 1..256 characters
-- ARGV[4]  life_ms     integer >= 1; how long the ticket is good
-- ARGV[5]  idle_ms     integer >= 1000
-- ARGV[6]  absolute_ms integer >= idle_ms
-- ARGV[7]  cap         integer 1..1000
-- ARGV[8]  renew_ms    integer >= 0; the age at which a secret is to be renewed, or 0
-- ARGV[9]  locks       0 or 1; whether the session ends when it is idle, or locks until its absolute end
-- ARGV[10] login       text; what is known of the login, behind its time
-- ARGV[11] notice      text; announces the end of a session up to its sid
-- ARGV[12] notice_end  text; and what follows the sid
-- ARGV[13..] details   what else the session stores, as pairs
-- returns  {1, the ticket's end in ms}, {2} the user is disabled
-- expires  ticket at its end
-- cost     O(1), 6 commands
-- idempotent yes
-- flags    none
--#include lib/now.lua

local ticket, epoch, all_users = KEYS[1], KEYS[2], KEYS[3]
local now_ms, verifier, user, life_ms = clock(tonumber(ARGV[1])), ARGV[2], ARGV[3], tonumber(ARGV[4])
local idle_ms, absolute_ms, cap = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local renew_ms, locks, login, notice, notice_end = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10], ARGV[11], ARGV[12]

local former = redis.call('HMGET', ticket, '@shown', '@end_ms')
local own, everyone = redis.call('HMGET', epoch, 'ep', 'dis'), redis.call('HGET', all_users, 'ep')

if own[2] == '1' then return {2} end
if former[1] == verifier then return {1, tonumber(former[2])} end

redis.call('DEL', ticket)
redis.call('HSET', ticket, '@shown', verifier, '@user', user, '@user_epoch', own[1] or '', '@global_epoch', everyone or '',
  '@login_ms', now_ms, '@end_ms', now_ms + life_ms, '@idle_ms', idle_ms, '@absolute_ms', absolute_ms, '@cap', cap,
  '@renew_ms', renew_ms, '@locks', locks, '@login', login, '@notice', notice, '@notice_end', notice_end,
  unpack(ARGV, 13))
redis.call('PEXPIRE', ticket, life_ms)
return {1, now_ms + life_ms}
