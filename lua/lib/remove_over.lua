-- lib/remove_over.lua: remove from an index what has expired, and the records of members that are over.
--
-- Include lib/end_session.lua first.
local function remove_over(index, records, over, now_ms)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now_ms)
  for _, sid in ipairs(over) do
    end_session(records .. sid, index, records .. sid .. ':memo', sid, 'revoked-all', now_ms)
  end
end
