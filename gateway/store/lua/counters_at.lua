-- counters_at.lua: counters together with how far the ledger reached when they stood so, in one moment.
-- KEYS[1]            ledger of the shard
-- KEYS[2]            counters: a hash of the shard
-- KEYS[3]            who repairs the shard's counters
-- ARGV[1]            token of a repair that is to follow, which no other may overtake; "" = none will
-- ARGV[2]            how long that holds, ms
-- ARGV[3]..          names of counters
-- RETURNS            {1, last entry of the ledger, entries it has lost to trimming, oldest entry or "",
--                    the counters as text, "0" where there is none}; {0} while another repair holds
-- OWNER              the repair, which expires
if ARGV[1] ~= '' then
  local holder = redis.call('GET', KEYS[3])
  if holder and holder ~= ARGV[1] then
    return {0}
  end
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
end
local answer = {1, '0-0', 0, ''}
if redis.call('EXISTS', KEYS[1]) == 1 then
  local facts = redis.call('XINFO', 'STREAM', KEYS[1])
  local of = {}
  for i = 1, #facts, 2 do
    of[facts[i]] = facts[i + 1]
  end
  answer[2] = of['last-generated-id']
  answer[3] = of['entries-added'] - of['length']
  if of['first-entry'] then
    answer[4] = of['first-entry'][1]
  end
end
for i = 3, #ARGV do
  answer[2 + i] = redis.call('HGET', KEYS[2], ARGV[i]) or '0'
end
return answer
