-- alias_move.lua: give one alias its successor's block, unless somebody changed it meanwhile.
-- KEYS[1]            current aliases: hash of name -> revision as JSON
-- KEYS[2]            epoch: counter that grows with every change of the catalogue
-- KEYS[3]            revisions of the alias: list, oldest first; revision n stands at index n-1
-- ARGV[1]            name of the alias
-- ARGV[2]            author as a JSON string
-- ARGV[3]            now, unix seconds
-- ARGV[4]            block (JSON)
-- ARGV[5]            what the move is for (JSON), kept with the revision
-- ARGV[6]            the revision that must still be the current one
-- RETURNS            the new revision as JSON, or "" where nothing was done
-- OWNER              the control plane: revisions are kept for ever
-- Blocks pass through as text: decoding them here would turn [] into {} and 1.0 into 1.
local revision = redis.call('LLEN', KEYS[3])
if revision ~= tonumber(ARGV[6]) or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return ''
end
local entry = '{"revision":' .. string.format('%.0f', revision + 1) .. ',"author":' .. ARGV[2]
  .. ',"updated_at":' .. ARGV[3] .. ',"block":' .. ARGV[4] .. ',"moved":' .. ARGV[5] .. '}'
redis.call('RPUSH', KEYS[3], entry)
redis.call('HSET', KEYS[1], ARGV[1], entry)
redis.call('INCR', KEYS[2])
return entry
