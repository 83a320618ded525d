-- credit.lua: grant prepaid credit, or take some back, once.
-- KEYS[1]            money of the key (keys.py: key_account)
-- KEYS[2]            mark of this grant
-- ARGV[1]            nano-dollars; below 0 takes back
-- RETURNS            credit left, nano-dollars, with all open bounds at their worst
-- OWNER              the account: the key; the mark expires after a day
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', 86400000) then
  redis.call('HINCRBY', KEYS[1], 'granted', ARGV[1])
end
local kept = redis.call('HMGET', KEYS[1], 'granted', 'spent', 'held')
return (tonumber(kept[1]) or 0) - (tonumber(kept[2]) or 0) - (tonumber(kept[3]) or 0)
