-- cache_put.lua: keep an entry, in place of another one.
-- KEYS[1]            entry
-- ARGV[1], ARGV[2]   its bytes; how long it is kept, ms
-- ARGV[3]            1 = the server keeps the ledger too, else 0
-- RETURNS            1 if kept, 0 if there is no room
if not has_room(ARGV[3]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
