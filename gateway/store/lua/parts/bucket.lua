-- bucket.lua: the leaky bucket of a limit per minute; gateway/limits/bucket.py is its reference.
-- A level counts 1/60000 of a request or token, so a limit of k drains k a ms and all is in whole numbers,
-- exact as long as they stay below 2^53: hence the largest level.
local UNIT = 60000
local MAX_LEVEL = 9000000000000000

-- The level at `now` under `limit`, which is not 0, from what is stored: strings, or false for an unused
-- bucket. Where the clock went back nothing drains. Of what was used under another limit all stays used, but a
-- lower one is full at most, and a debt lasts no longer than before.
local function level_at(now, limit, level, written_at, written_of)
  if not level then
    return 0
  end
  level, written_at, written_of = tonumber(level), tonumber(written_at), tonumber(written_of)
  if now > written_at then
    level = math.max(0, level - (now - written_at) * written_of)
  end
  if level > limit * UNIT and limit ~= written_of then
    level = math.min(level, math.max(limit * UNIT, math.floor(level / written_of * limit)))
  end
  return level
end
