-- beat.lua: note that a worker lives, and count those that do.
-- KEYS[1]            workers: sorted set, scored by the ms until when each counts as living
-- ARGV[1]            process
-- RETURNS            how many live, this one included
-- CLOCK              Redis TIME, so gateway replicas agree
-- OWNER              whoever beats; the set expires when nobody does
local now = now_ms()
redis.call('ZADD', KEYS[1], int(now + LEASE_MS), ARGV[1])
shorten_leases(KEYS[1], now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now))
redis.call('PEXPIRE', KEYS[1], LEASE_MS)
return redis.call('ZCARD', KEYS[1])
