-- cache_generation.lua: make generations that are missing, or replace all of them.
-- KEYS[i]            generations, all in one slot
-- ARGV[1]            1 = replace them, which purges; 0 = keep those that are there
-- RETURNS            {the number of each}
-- CLOCK              Redis TIME, microseconds: a generation that was lost comes back as one never used
-- OWNER              whoever looks: the cache is purged when they expire
local KEPT_MS = 400 * 86400000
local time, numbers = redis.call('TIME'), {}
local now_us = time[1] * 1000000 + time[2]
for i = 1, #KEYS do
  local known = tonumber(redis.call('GET', KEYS[i]) or nil)
  if known and ARGV[1] == '0' then
    numbers[i] = known
  else
    numbers[i] = math.max(now_us, (known or 0) + 1)
    redis.call('SET', KEYS[i], int(numbers[i]), 'PX', int(KEPT_MS))
  end
end
return numbers
