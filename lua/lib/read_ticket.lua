-- lib/read_ticket.lua: return the fields of a ticket by name, as lib/begin_session.lua takes them, and the session's details as pairs.
local function read_ticket(ticket)
  local login, details, flat = {}, {}, redis.call('HGETALL', ticket)
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 1) == '@' then
      login[string.sub(flat[i], 2)] = flat[i + 1]
    else
      details[#details + 1], details[#details + 2] = flat[i], flat[i + 1]
    end
  end
  for _, name in ipairs({'cap', 'end_ms', 'idle_ms', 'absolute_ms', 'renew_ms', 'locks'}) do
    login[name] = login[name] and tonumber(login[name])
  end
  return login, details
end
