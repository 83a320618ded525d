-- renew.lua: extend the leases of a process's open calls, and the counts that they are part of.
-- KEYS[1]            leases of the shard
-- KEYS[2..]          buckets and calls at once (keys.py: key_limits) of the keys these calls belong to
-- ARGV[1]            process
-- ARGV[2..]          request ids; one that is not reserved any more stays so
-- RETURNS            how many of them are still reserved
-- CLOCK              Redis TIME, so gateway replicas agree
local ends_at = now_ms() + LEASE_MS

local writes, renewed = {}, 0
local scores = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, 2))
for i = 1, #scores do
  if scores[i] then
    renewed = renewed + 1
    writes[2 * renewed - 1], writes[2 * renewed] = int(ends_at), ARGV[i + 1]
  end
end
if renewed > 0 then
  redis.call('ZADD', KEYS[1], unpack(writes))
end
for i = 2, #KEYS do
  local kept = redis.call('HMGET', KEYS[i], 'n:' .. ARGV[1], 'check_at')
  if kept[1] then
    redis.call('HSET', KEYS[i], 'e:' .. ARGV[1], int(ends_at))
    if tonumber(kept[2]) > ends_at then -- the clock went back: the next admission looks at all of them
      redis.call('HSET', KEYS[i], 'check_at', '0')
    end
    if redis.call('PTTL', KEYS[i]) < IDLE_MS then
      redis.call('PEXPIRE', KEYS[i], IDLE_MS)
    end
  end
end
return renewed
