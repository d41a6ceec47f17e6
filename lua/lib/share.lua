-- lib/share.lua: return the whole part and the rest of a * b / c, for a < 2^35 and b < 2^30: the product may pass 2^53.
local function share(a, b, c)
  local product = a * b
  if product < 9007199254740992 then
    local whole = math.floor(product / c)
    return whole, product - whole * c
  end
  local high, low = math.floor(b / 32768), b % 32768
  local whole = math.floor(a * high / c)
  product = (a * high - whole * c) * 32768 + a * low
  local more = math.floor(product / c)
  return whole * 32768 + more, product - more * c
end
