-- cache_release.lua: give a flight up.
-- KEYS[1]            flight
-- ARGV[1]            flight that the leader leads; another one stays
-- RETURNS            1 if given up, else 0
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
