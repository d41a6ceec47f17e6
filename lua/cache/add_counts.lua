-- cache/add_counts.lua: add what a process has counted to the sums of each family; those beyond the bound share one.
--
-- KEYS[1]  sums          hash; for each family its numbers in decimal digits, with spaces between them
-- ARGV[1]  now_ms        integer; unused here
-- ARGV[2]  families_max  integer >= 1; further families are added to that of the name `other`
-- ARGV[2i+1..2i+2]       text; the i-th family, and its numbers as they are stored, 0..2^53
-- returns  {families that have sums}
-- expires  never: the sums are those since the beginning
-- cost     O(families), 1 command and 2..4 for each family
-- idempotent no
-- flags    allow-oom

local sums = KEYS[1]
local _ = tonumber(ARGV[1])
local families_max = tonumber(ARGV[2])

for i = 1, (#ARGV - 2) / 2 do
  local family, added = ARGV[2 * i + 1], ARGV[2 * i + 2]
  local before = redis.call('HGET', sums, family)
  if not before and redis.call('HLEN', sums) >= families_max then
    family = 'other'
    before = redis.call('HGET', sums, family)
  end
  local total, number_before = {}, string.gmatch(before or '', '%d+')
  for number in string.gmatch(added, '%d+') do
    total[#total + 1] = string.format('%.0f', tonumber(number) + tonumber(number_before() or 0))
  end
  -- A process of a later release may have counted more.
  for number in number_before do total[#total + 1] = number end
  redis.call('HSET', sums, family, table.concat(total, ' '))
end
return {redis.call('HLEN', sums)}
