-- lib/announce.lua: tell all who listen what ended, and when; where the account may not publish, nobody hears of it.
local function announce(channel, at_ms, notice)
  redis.pcall('PUBLISH', channel, at_ms .. ' ' .. notice)
end
