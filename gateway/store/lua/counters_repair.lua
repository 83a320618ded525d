-- counters_repair.lua: move counters by what they differ from the ledger.
-- KEYS[1]            counters: a hash of the shard
-- KEYS[2]            who repairs the shard's counters
-- ARGV[1]            the token that counters_at.lua was given: the differences are those that it showed
-- ARGV[2]            how long the hash lives, ms, where this makes it; 0 = for ever
-- ARGV[3+2i], ARGV[4+2i]: name of a counter, difference
-- RETURNS            1 if done, 0 if another repair has begun since
-- OWNER              the hash: whoever settles; the repair ends here
-- Differences, not figures: calls that are settled meanwhile move ledger and counters alike, so a difference
-- stays what it was, whatever the counter is by now.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
for i = 3, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
if ARGV[2] ~= '0' and redis.call('PTTL', KEYS[1]) == -1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
redis.call('DEL', KEYS[2])
return 1
