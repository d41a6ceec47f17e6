-- lib/limit_state_entry.lua: return what a `TH2;` state has of a window: its digits, and its previous units.
--
-- The digits are 10^15 + index mod 2^22 * 2^30 + total. The previous units are their sum, then `,slot:units` for each
-- of their slots, oldest first; nothing if there are none. The rest of the index and `/` come before them if so many
-- slots may end within the life of the state that the digits do not tell which one is meant.
local function limit_state_entry(index, total, previous, slot_ms, longest_ms)
  local low = index % 4194304
  if previous == '0' then previous = '' end
  if 2 * longest_ms + 1000 > 3145728 * slot_ms then
    previous = string.format('%d/', (index - low) / 4194304) .. previous
  end
  return string.format('%d', 1000000000000000 + low * 1073741824 + total), previous
end
