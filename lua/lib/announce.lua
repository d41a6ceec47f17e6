-- lib/announce.lua: publish what ended, and when; if the account may not publish, no process hears of it.
local function announce(channel, at_ms, notice)
  redis.pcall('PUBLISH', channel, at_ms .. ' ' .. notice)
end
