-- discovered_write.lua: keep the models that an upstream lists; a change lets the catalogue's epoch grow.
-- KEYS[1]            discovered models: hash of upstream -> JSON list
-- KEYS[2]            epoch: counter that grows with every change of the catalogue
-- ARGV[1], ARGV[2]   upstream, JSON list; an empty list text removes the upstream
-- RETURNS            1 if that changed anything, else 0
-- OWNER              the control plane
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if stored == ARGV[2] then
  return 0
end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
redis.call('INCR', KEYS[2])
return 1
