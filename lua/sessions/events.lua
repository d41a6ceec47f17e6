-- sessions/events.lua: return the events of one shard that follow a position, with the server's time; changes nothing.
--
-- A stream is trimmed from its old end. If it is full, and nothing at or before the position is left, then some that
-- followed may be gone.
--
-- KEYS[1]  events      stream; as lib/write_event.lua writes it
-- ARGV[1]  now_ms      integer; unused: ids in a stream have the time of the server
-- ARGV[2]  after       text; the id in the stream that they follow
-- ARGV[3]  most        integer >= 1; how many to return
-- ARGV[4]  full        integer >= 1; the length from which on a stream is trimmed
-- ARGV[5]  primary     text; names the server that answers
-- returns  {server_ms, 1 some may be gone | 0, primary, id, at, kind, user, sid, actor, reason, ...}
-- expires  nothing is written
-- cost     O(most), 4 commands
-- idempotent yes
-- flags    no-writes
--#include lib/now.lua

local events = KEYS[1]
local _ = tonumber(ARGV[1])
local after, most, full, primary = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

local found = redis.call('XRANGE', events, '(' .. after, '+', 'COUNT', most)
local is_full = redis.call('XLEN', events) >= full
local gone = is_full and #redis.call('XRANGE', events, '-', after, 'COUNT', 1) == 0

local reply = {clock(0), gone and 1 or 0, primary}
for _, entry in ipairs(found) do
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  reply[#reply + 1] = entry[1]
  for _, name in ipairs({'at', 'kind', 'user', 'sid', 'actor', 'reason'}) do reply[#reply + 1] = fields[name] or '' end
end
return reply
