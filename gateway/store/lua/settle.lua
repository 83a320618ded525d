-- settle.lua: end a call: give back what it holds, write its record, move the counters; all of it once.
-- KEYS[1]            buckets and calls at once of the key (keys.py: key_limits)
-- KEYS[2]            its money (key_account); day and month stand at KEYS[2]:yyyymmdd and :yyyymm, same slot
-- KEYS[3], KEYS[4]   reservations and leases of the shard
-- KEYS[5]            the shard's ledger; its usage counters have the same tag (usage_of_day, usage_of_hour)
-- KEYS[6]            the call's mark
-- ARGV[1], ARGV[2]   request id, record as JSON
-- ARGV[3]            when it was admitted, ms: the hour, day and month that it counts to
-- ARGV[4]            what it took of the tokens a minute
-- ARGV[5]            counters, in the order of METRICS below, with a space between two
-- ARGV[6]            dimensions of the usage counters, joined by U+001F
-- ARGV[7]            state
-- ARGV[8]            the limit of tokens a minute as admitted, "" = unlimited: it took none
-- ARGV[9]            1 = paid from credit, else 0
-- ARGV[10]           1 = the store admitted it, else 0
-- ARGV[11]           1 = only if its reservation is open and the lease over, else 0
-- RETURNS            0 absent, 1 stored, 2 duplicate, 3 corrected
-- CLOCK              Redis TIME for leases and buckets; what it counts to is told by ARGV[3]
-- OWNER              the sweeper trims the ledger, days of usage are kept for ever, all else expires
local ABSENT, STORED, DUPLICATE, CORRECTED = 0, 1, 2, 3
local HOUR_MS, IDLE_MS, MARK_MS = 3600000, 120000, 86400000
local DAY_MS, MONTH_MS, HOURLY_MS = 4 * 86400000, 64 * 86400000, 400 * 86400000
local METRICS = {'requests', 'errors', 'cache_hits', 'prompt_tokens', 'cached_tokens', 'completion_tokens',
  'reasoning_tokens', 'cost_nanousd', 'saved_nanousd', 'unpriced_requests'}
local REQUESTS, PROMPT, COMPLETION, COST = 1, 4, 6, 8
-- A record gives way to one of a higher rank. What was withdrawn has none and gets none.
local RANK = {orphaned = 0, withdrawn = 1, released = 1, estimated = 1, exact = 2}

local now = now_ms()
local id, state, limits, account = ARGV[1], ARGV[7], KEYS[1], KEYS[2]

-- Add to a counter, or take back. Nothing is ever added to none.
local function move(key, field, sign, amount)
  if amount ~= '0' then
    redis.call('HINCRBY', key, field, sign .. amount)
  end
end

-- Count one record (sign '') or take it back (sign '-').
local function count(sign, admitted_at, has_credit, counters, dimensions)
  local day = day_of(admitted_at)
  local tag = string.match(KEYS[5], '^{.-}:')
  local of_day = tag .. 'use:d:' .. day
  local of_hour = string.format('%suse:h:%s%02d', tag, day, math.floor(admitted_at / HOUR_MS) % 24)
  for i = 1, #METRICS do
    local amount = counters[i]
    if amount ~= '0' then
      local field = dimensions .. '\31' .. METRICS[i]
      redis.call('HINCRBY', of_day, field, sign .. amount)
      if redis.call('HINCRBY', of_hour, field, sign .. amount) == tonumber(amount) then
        redis.call('PEXPIRE', of_hour, HOURLY_MS) -- perhaps its first field
      end
    end
  end
  local function count_key(period, ttl_ms)
    local key = account .. ':' .. period
    move(key, METRICS[REQUESTS], sign, counters[REQUESTS])
    move(key, METRICS[PROMPT], sign, counters[PROMPT])
    move(key, METRICS[COMPLETION], sign, counters[COMPLETION])
    move(key, METRICS[COST], sign, counters[COST])
    redis.call('PEXPIRE', key, ttl_ms)
  end
  count_key(day, DAY_MS)
  count_key(string.sub(day, 1, 6), MONTH_MS)
  move(account, METRICS[COST], sign, counters[COST])
  if has_credit == '1' then
    move(account, 'spent', sign, counters[COST])
  end
end

-- Hold less money; a day or month that has expired holds none.
local function unhold(key, amount)
  local held = tonumber(redis.call('HGET', key, 'held')) or 0
  if held > 0 then
    redis.call('HINCRBY', key, 'held', int(-math.min(held, amount)))
  end
end

local entry, mark = redis.call('HGET', KEYS[3], id), redis.call('GET', KEYS[6])
if ARGV[11] == '1' and (not entry or tonumber(redis.call('ZSCORE', KEYS[4], id)) > now) then
  return ABSENT
end
local known = mark and string.match(mark, '^%a+')
if known and (known == 'withdrawn' or RANK[state] <= RANK[known]) then
  redis.call('PEXPIRE', KEYS[6], MARK_MS) -- a write, so that a WAIT behind it waits for the first one too
  return DUPLICATE
end
if not known and not entry and ARGV[10] == '1' and now - tonumber(ARGV[3]) >= MARK_MS then
  return DUPLICATE -- it was settled, at the latest as orphaned, and its mark has expired
end

local tokens_held, admitted_at, process, since, money_held = 0, nil, '', nil, 0
if entry then
  redis.call('HDEL', KEYS[3], id)
  redis.call('ZREM', KEYS[4], id)
  admitted_at, process, since, tokens_held, money_held = string.match(entry, '^(%d+) (%S+) (%d+) (%d+) (%d+) ')
  money_held = tonumber(money_held)
  if money_held > 0 then
    local day = account .. ':' .. day_of(tonumber(admitted_at))
    unhold(account, money_held)
    unhold(day, money_held)
    unhold(string.sub(day, 1, -3), money_held)
  end
end

local kept = redis.call('HMGET', limits, 'tpm', 'tpm_at', 'tpm_of', 'open', 'n:' .. process, 's:' .. process)
if entry and kept[6] == since then -- else its count was dropped meanwhile
  redis.call('HSET', limits, 'open', kept[4] - 1, 'n:' .. process, kept[5] - 1)
end
local more_tokens = known and 0 or ARGV[4] - tokens_held -- a correction comes too late for the minute
local tpm = tonumber(ARGV[8]) and tonumber(kept[3] or ARGV[8])
if more_tokens ~= 0 and tpm and tpm > 0 then
  local level = level_at(now, tpm, kept[1], kept[2], kept[3]) + more_tokens * UNIT
  level = math.min(math.max(level, 0), MAX_LEVEL)
  redis.call('HSET', limits, 'tpm', int(level), 'tpm_at', int(now), 'tpm_of', int(tpm))
  redis.call('PEXPIRE', limits, int(math.max(IDLE_MS, level / tpm)))
end

-- The counters of a text.
local function counters_in(text)
  local counters = {}
  for counter in string.gmatch(text, '%d+') do
    counters[#counters + 1] = counter
  end
  return counters
end
if known then
  local at, has_credit, counted, dimensions = string.match(mark, '^%a+ (%d+) ([01])|([%d ]+)|(.*)$')
  count('-', tonumber(at), has_credit, counters_in(counted), dimensions)
end
if known or state ~= 'withdrawn' then
  count('', tonumber(ARGV[3]), ARGV[9], counters_in(ARGV[5]), ARGV[6])
  if known then
    redis.call('XADD', KEYS[5], '*', 't', 'correction', 'r', ARGV[2], 'was', mark)
  else
    redis.call('XADD', KEYS[5], '*', 't', 'event', 'r', ARGV[2])
  end
end

local settled = state .. ' ' .. ARGV[3]
if state ~= 'exact' and state ~= 'withdrawn' then -- may still be corrected
  settled = settled .. ' ' .. ARGV[9] .. '|' .. ARGV[5] .. '|' .. ARGV[6]
end
redis.call('SET', KEYS[6], settled, 'PX', MARK_MS)
return known and CORRECTED or STORED
