-- key_write.lua: store a new version of a virtual key's record, or nothing if someone else was faster.
-- KEYS[1]            the key's hash {record, rev, last_used_at}
-- ARGV[1]            the revision this change was made from; 0 for a new key
-- ARGV[2]            the record to store, JSON, whose own revision is ARGV[1] + 1
-- RETURNS            1 if stored, 0 if the stored revision is another one
-- OWNER              the control plane: records are kept for ever, revoked ones too, so no id is used twice
local stored = tonumber(redis.call('HGET', KEYS[1], 'rev') or '0')
local based_on = tonumber(ARGV[1])
if stored ~= based_on then
  return 0
end
redis.call('HSET', KEYS[1], 'record', ARGV[2], 'rev', string.format('%.0f', based_on + 1))
return 1
