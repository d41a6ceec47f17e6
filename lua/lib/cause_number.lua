-- lib/cause_number.lua: return the number of a cause that lib/envelope_status.lua tells: 0 for a hit.
local function cause_number(cause)
  return ({hit = 0, absent = 1, invalidated = 2, epoch = 3, unusable = 4})[cause]
end
