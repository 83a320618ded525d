-- overdue.lua: the reservations whose lease is over, the oldest first.
-- KEYS[1], KEYS[2]   leases and reservations of the shard
-- ARGV[1]            how many at most
-- RETURNS            {request id, reservation, request id, ...}; a reservation as admit.lua writes it
-- CLOCK              Redis TIME; where it went back, leases that would outlast a new one are shortened
-- OWNER              settlement removes a lease with its reservation
local now = now_ms()
shorten_leases(KEYS[1], now)
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'LIMIT', 0, ARGV[1])) do
  found[#found + 1] = id
  found[#found + 1] = redis.call('HGET', KEYS[2], id)
end
return found
