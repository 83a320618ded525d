-- account.lua: all that is kept of a key's account, as it stands now. Writes nothing.
-- KEYS[1]            buckets and calls at once (keys.py: key_limits)
-- KEYS[2]            money (key_account); day and month stand at KEYS[2]:yyyymmdd and :yyyymm, same slot
-- RETURNS            {now ms, and what HGETALL gives of KEYS[1], KEYS[2], the day, the month}
-- CLOCK              Redis TIME, so gateway replicas agree
local now = now_ms()
local day = KEYS[2] .. ':' .. sub(hour_of(now), 1, 8)
return {
  now, redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', day),
  redis.call('HGETALL', string.sub(day, 1, -3)),
}
