-- alias_revise.lua: give aliases a new revision each, all in one step, and let the catalogue's epoch grow.
-- KEYS[1]            current aliases: hash of name -> revision as JSON
-- KEYS[2]            epoch: counter that grows with every change of the catalogue
-- KEYS[3]            the file's share: hash of name -> the block that the file gave last
-- KEYS[3+i]          revisions of alias i: list, oldest first; revision n stands at index n-1
-- ARGV[1]            author as a JSON string
-- ARGV[2]            "file": only what differs from the file's share counts as a change; else "direct"
-- ARGV[3]            now, unix seconds
-- ARGV[2+2i], ARGV[3+2i]: name and block (JSON) of alias i; an empty block deletes the alias
-- RETURNS            one string for each alias: its new revision as JSON, or "" where nothing changed
-- OWNER              the control plane: revisions are kept for ever
-- Blocks pass through as text: decoding them here would turn [] into {} and 1.0 into 1.
local answers = {}
local changed = false
for i = 1, #KEYS - 3 do
  local revisions = KEYS[3 + i]
  local name, block = ARGV[2 + 2 * i], ARGV[3 + 2 * i]
  local due = true
  if ARGV[2] == 'file' then
    due = (redis.call('HGET', KEYS[3], name) or '') ~= block
    if due and block == '' then
      redis.call('HDEL', KEYS[3], name)
    elseif due then
      redis.call('HSET', KEYS[3], name, block)
    end
  end
  if due and block == '' and redis.call('HEXISTS', KEYS[1], name) == 0 then
    due = false
  end
  if due then
    local revision = redis.call('LLEN', revisions) + 1
    local entry = '{"revision":' .. string.format('%.0f', revision) .. ',"author":' .. ARGV[1]
      .. ',"updated_at":' .. ARGV[3] .. ',"block":' .. (block == '' and 'null' or block) .. '}'
    redis.call('RPUSH', revisions, entry)
    if block == '' then
      redis.call('HDEL', KEYS[1], name)
    else
      redis.call('HSET', KEYS[1], name, entry)
    end
    changed = true
    answers[i] = entry
  else
    answers[i] = ''
  end
end
if changed then
  redis.call('INCR', KEYS[2])
end
return answers
