-- lib/new_epoch.lua: return the epoch, 16 hex digits, of a clock that was lost: of its time, and of a token.
--
-- A copy of the call that began the clock before, which arrives later, does not bring that epoch back.
local function new_epoch(token, now_ms)
  return string.format('%011x', now_ms) .. string.sub(token, 1, 5)
end
