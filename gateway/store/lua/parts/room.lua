-- room.lua: whether the cache may take more. A server that keeps the ledger too must not be filled: its writes
-- would fail, so the last fifth of its memory is left to it. One that does not tell has no room.
local function has_room(is_shared)
  if is_shared ~= '1' then
    return true
  end
  local told = redis.pcall('INFO', 'memory')
  if type(told) ~= 'string' then
    return false
  end
  local used, most = string.match(told, 'used_memory:(%d+)'), string.match(told, 'maxmemory:(%d+)')
  return used and most and (most == '0' or tonumber(used) < 0.8 * tonumber(most))
end
