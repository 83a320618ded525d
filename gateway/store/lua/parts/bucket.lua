-- bucket.lua: the leaky bucket of a limit per minute; gateway/limits/bucket.py is its reference.
-- A level counts 1/60000 of a request or token, so a limit of k drains k a ms and all is in whole numbers,
-- exact up to the largest level.
local UNIT = 60000
local MAX_LEVEL = SURE

-- The level at `now` under `limit`, which is not 0, from what is stored: all as texts but `now`, and false for
-- an unused bucket. Where the clock went back nothing drains. Of what was used under another limit all stays
-- used, but a lower one is full at most, and a debt lasts no longer than before.
-- In these two cases the second result is true: unwritten, the level would drain at the wrong pace.
local function level_at(now, limit, level, written_at, written_of)
  if not level then
    return 0, false
  end
  local ms, is_other = now - written_at, limit ~= written_of
  level = ms > 0 and level - ms * written_of or level + 0
  if level < 0 then
    level = 0
  end
  if is_other and level > limit * UNIT then
    level = min(level, max(limit * UNIT, floor(level / written_of * limit)))
  end
  return level, is_other or ms < 0
end

-- Buckets and counts of calls live until the tokens are drained, and for IDLE_MS at least from each admission and
-- renewal on. Who prolongs their life does so for the admissions of the next LEASE_MS too.
local IDLE_MS = 120000
local function prolong(limits, drained_in_ms)
  call('PEXPIRE', limits, int(max(IDLE_MS, drained_in_ms) + LEASE_MS))
end
