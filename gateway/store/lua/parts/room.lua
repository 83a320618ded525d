-- room.lua: whether the cache may take more. A server that keeps the ledger too must not be filled: its writes
-- would fail, so the last fifth of its memory is left to it; without a bound, half of the machine's. One that
-- does not tell has no room.
local function has_room(is_shared)
  if is_shared ~= '1' then
    return true
  end
  local told = redis.pcall('INFO', 'memory')
  if type(told) ~= 'string' then
    return false
  end
  local function bytes(name)
    return tonumber(string.match(told, name .. ':(%d+)') or 0)
  end
  local bound = bytes('maxmemory')
  return bytes('used_memory') < (bound > 0 and 0.8 * bound or 0.5 * bytes('total_system_memory'))
end
