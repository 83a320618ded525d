-- cache_look.lua: the entry of a cache key; without one its flight, which is begun where there is none.
-- KEYS[1]            entry
-- KEYS[2]            flight
-- ARGV[1], ARGV[2]   flight to begin, and how long it lives without a word of its leader, ms
-- ARGV[3]            1 = the server keeps the ledger too, else 0
-- RETURNS            {entry or nil, flight, "" where there is an entry or the caller flies alone}
-- OWNER              a flight expires with its lease
local entry = redis.call('GET', KEYS[1])
if entry then
  return {entry, ''}
end
local flight = redis.call('HMGET', KEYS[2], 'id', 'cut')
if flight[1] and not flight[2] then
  return {false, flight[1]}
elseif flight[1] then
  return {false, ''}
end
if not has_room(ARGV[3]) then
  return {false, ''}
end
redis.call('HSET', KEYS[2], 'id', ARGV[1], 'frames', '0', 'bytes', '0')
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {false, ARGV[1]}
