-- cache_append.lua: add frames to a flight and renew its lease; the eldest go where it grows too long.
-- KEYS[1]            flight {id, frames, bytes, cut}
-- KEYS[2]            its frames: a stream, whose entry n-0 is the frame at position n - 1
-- ARGV[1]            flight that the leader leads
-- ARGV[2]            how long it lives without a word of its leader, ms
-- ARGV[3]            1 = these are the last frames, else 0
-- ARGV[4]            most bytes of frames that are kept
-- ARGV[5..]          frames
-- RETURNS            1 if added, 0 if the flight is no longer that of its key
-- OWNER              frames expire a while after the flight, so that who is behind can read on
local LINGER_MS = 15000
local flight = redis.call('HMGET', KEYS[1], 'id', 'frames', 'bytes')
if flight[1] ~= ARGV[1] then
  return 0
end
local count, bytes, most = tonumber(flight[2]), tonumber(flight[3]), tonumber(ARGV[4])
if count > 0 and redis.call('EXISTS', KEYS[2]) == 0 then -- evicted: nobody could begin to read
  redis.call('DEL', KEYS[1])
  return 0
end
for i = 5, #ARGV do
  count = count + 1
  bytes = bytes + #ARGV[i]
  redis.call('XADD', KEYS[2], int(count) .. '-0', 'f', ARGV[i])
end
if bytes > most then
  redis.call('HSET', KEYS[1], 'cut', '1')
end
while bytes > most do
  local eldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  bytes = bytes - #eldest[2][2]
  redis.call('XDEL', KEYS[2], eldest[1])
end
if ARGV[3] == '1' then
  redis.call('XADD', KEYS[2], int(count + 1) .. '-0', 'end', '')
  redis.call('PEXPIRE', KEYS[2], LINGER_MS)
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'frames', int(count), 'bytes', int(bytes))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[2] + LINGER_MS)
end
return 1
