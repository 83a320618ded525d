-- settle.lua: end a call: give back what it holds, write its record, move the counters; all of it once.
-- KEYS[1]            buckets and calls at once of the key (keys.py: key_limits)
-- KEYS[2]            its money (key_account); day and month stand at KEYS[2]:yyyymmdd and :yyyymm, same slot
-- KEYS[3], KEYS[4]   reservations and leases of the shard
-- KEYS[5]            the shard's ledger; its usage counters have the same tag (usage_of_day, usage_of_hour)
-- KEYS[6]            the call's mark, which ends in its id
-- ARGV[1]            record as JSON
-- ARGV[2]            [at,took,...]: when it was admitted, ms: the hour, day and month that it counts to; what it took
--                    of the tokens a minute; counters, in the order of `count` below
-- ARGV[3]            dimensions of the usage counters, joined by U+001F
-- ARGV[4]            state
-- ARGV[5]            the limit of tokens a minute as admitted, "" = unlimited: it took none
-- ARGV[6]            1 = paid from credit, else 0
-- ARGV[7]            1 = the store admitted it, else 0
-- ARGV[8]            1 = only if its reservation is open and the lease over, else 0
-- RETURNS            0 absent, 1 stored, 2 duplicate, 3 corrected
-- CLOCK              Redis TIME for leases and buckets; what it counts to is told by ARGV[2]
-- OWNER              the sweeper trims the ledger, days of usage are kept for ever, all else expires
local ABSENT, STORED, DUPLICATE, CORRECTED = 0, 1, 2, 3
local MARK_MS = 86400000
local DAY_MS, MONTH_MS, HOURLY_MS = 4 * 86400000, 64 * 86400000, 400 * 86400000
local OF_KEY = {'requests', 'prompt_tokens', 'completion_tokens', 'cost_nanousd'}
local COUNTERS = '(%d+)%D(%d+)%D(%d+)%D(%d+)%D(%d+)%D(%d+)%D(%d+)%D(%d+)%D(%d+)%D(%d+)' -- ',' or, in marks, ' '
local FOUR_ABOVE_0 = '^[1-9]%d* [1-9]%d* [1-9]%d* [1-9]%d*$'

local now = now_ms()
local id, state, limits, account = sub(KEYS[6], #'{s00}:mark:' + 1), ARGV[4], KEYS[1], KEYS[2]
local counts_at, took, counters = match(ARGV[2], '^%[(%d+),(%d+),(.+)%]')

-- Add amounts to fields, or take them back (sign '-'). Nothing is ever added to none. Returns whether the hash may
-- be new.
local function add(key, fields, sign, amounts)
  local is_new = false
  for i = 1, #fields do
    if amounts[i] ~= '0' then
      local amount = sign .. amounts[i]
      is_new = call('HINCRBY', key, fields[i], amount) == tonumber(amount) or is_new
    end
  end
  return is_new
end

-- The same for four fields that nearly every call adds to; `numbers` are the amounts if none of them is 0 and nothing
-- is taken back. Then a read and a write of all four cost less than HINCRBY for each. But what is not there yet, no
-- number, or more than Lua is sure of is left to that.
local function add_usual(key, fields, sign, amounts, numbers)
  local kept = numbers and call('HMGET', key, fields[1], fields[2], fields[3], fields[4])
  if kept and kept[1] and kept[2] and kept[3] and kept[4]
    and find(kept[1] .. ' ' .. kept[2] .. ' ' .. kept[3] .. ' ' .. kept[4], FOUR_ABOVE_0) then
    local a, b, c, d = kept[1] + numbers[1], kept[2] + numbers[2], kept[3] + numbers[3], kept[4] + numbers[4]
    if max(a, b, c, d) <= SURE then
      call('HSET', key, fields[1], a, fields[2], b, fields[3], c, fields[4], d)
      return false
    end
  end
  return add(key, fields, sign, amounts)
end

-- Count one record, or take it back.
local function count(sign, admitted_at, has_credit, counted, dimensions)
  local requests, errors, hits, prompt, cached, completion, reasoning, cost, saved, unpriced = match(counted, COUNTERS)
  local hour = hour_of(admitted_at)
  local day = sub(hour, 1, 8)

  local tag, of = sub(KEYS[5], 1, -7), dimensions .. '\31'
  local of_day, of_hour = tag .. 'use:d:' .. day, tag .. 'use:h:' .. hour
  local fields = {of .. 'requests', of .. 'prompt_tokens', of .. 'completion_tokens', of .. 'cost_nanousd'}
  local amounts = {requests, prompt, completion, cost}
  if cost == '0' then -- most often as nobody knows it
    fields[4], amounts[4], unpriced = of .. 'unpriced_requests', unpriced, '0'
  end
  local numbers = nil
  if sign == '' and requests ~= '0' and prompt ~= '0' and completion ~= '0' and amounts[4] ~= '0' then
    numbers = {requests + 0, prompt + 0, completion + 0, amounts[4] + 0}
  end
  add_usual(of_day, fields, sign, amounts, numbers)
  local is_new_hour = add_usual(of_hour, fields, sign, amounts, numbers)
  if errors .. hits .. cached .. reasoning .. saved .. unpriced ~= '000000' then
    fields = {of .. 'errors', of .. 'cache_hits', of .. 'cached_tokens', of .. 'reasoning_tokens', of .. 'saved_nanousd',
      of .. 'unpriced_requests'}
    local others = {errors, hits, cached, reasoning, saved, unpriced}
    add(of_day, fields, sign, others)
    is_new_hour = add(of_hour, fields, sign, others) or is_new_hour
  end
  if is_new_hour then
    call('PEXPIRE', of_hour, HOURLY_MS)
  end

  local key_day, key_month = account .. ':' .. day, account .. ':' .. sub(day, 1, 6)
  amounts[4], numbers = cost, cost ~= '0' and numbers or nil
  if add_usual(key_day, OF_KEY, sign, amounts, numbers) then
    call('PEXPIRE', key_day, int(DAY_MS + max(0, admitted_at - now))) -- a clock may be ahead
  end
  if add_usual(key_month, OF_KEY, sign, amounts, numbers) then
    call('PEXPIRE', key_month, int(MONTH_MS + max(0, admitted_at - now)))
  end
  if cost ~= '0' then
    call('HINCRBY', account, 'cost_nanousd', sign .. cost)
    if has_credit == '1' then
      call('HINCRBY', account, 'spent', sign .. cost)
    end
  end
end

local entry, mark = call('HGET', KEYS[3], id), call('GET', KEYS[6])
if ARGV[8] == '1' and (not entry or tonumber(call('ZSCORE', KEYS[4], id)) > now) then
  return ABSENT
end
local known = mark and match(mark, '^%a+')
-- A record gives way to one of a higher rank. What was withdrawn has none and gets none.
local RANK = known and {orphaned = 0, withdrawn = 1, released = 1, estimated = 1, exact = 2}
if known and (known == 'withdrawn' or RANK[state] <= RANK[known]) then
  call('PEXPIRE', KEYS[6], MARK_MS) -- a write, so that a WAIT behind it waits for the first one too
  return DUPLICATE
end
if not known and not entry and ARGV[7] == '1' and now - counts_at >= MARK_MS then
  return DUPLICATE -- it was settled, at the latest as orphaned, and its mark has expired
end

local tokens_held, admitted_at, process, since, money_held = 0, nil, '', nil, 0
if entry then
  call('HDEL', KEYS[3], id)
  call('ZREM', KEYS[4], id)
  admitted_at, process, since, tokens_held, money_held = match(entry, '^(%d+) (%S+) (%d+) (%d+) (%d+) ')
  if money_held ~= '0' then
    local day = account .. ':' .. sub(hour_of(admitted_at), 1, 8)
    for _, key in ipairs({account, day, sub(day, 1, -3)}) do
      if call('HINCRBY', key, 'held', '-' .. money_held) < 0 then
        call('HDEL', key, 'held') -- it had expired, and holds nothing
      end
    end
  end
end

local kept = call('HMGET', limits, 'tpm', 'tpm_at', 'tpm_of', 'open', 'n:' .. process, 's:' .. process,
  'e:' .. process)
local writes, drained_in_ms = {}, nil
if entry and kept[6] == since then -- else its count was dropped meanwhile
  writes = {'open', kept[4] - 1, 'n:' .. process, kept[5] - 1}
end
local more_tokens = known and 0 or took - tokens_held -- a correction comes too late for the minute
local tpm = ARGV[5] ~= '' and (kept[3] or ARGV[5]) or '0'
if more_tokens ~= 0 and tpm ~= '0' then
  local level = level_at(now, tpm, kept[1], kept[2], kept[3]) + more_tokens * UNIT
  level = min(max(level, 0), MAX_LEVEL)
  put(writes, 'tpm', level)
  put(writes, 'tpm_at', now)
  if not kept[3] then
    put(writes, 'tpm_of', tpm)
  end
  drained_in_ms = level / tpm
end
if #writes > 0 then
  call('HSET', limits, unpack(writes))
end
-- The process admitted or renewed LEASE_MS before its count ends.
if drained_in_ms and not (kept[7] and now + drained_in_ms <= kept[7] - LEASE_MS + IDLE_MS) then
  prolong(limits, drained_in_ms)
end

if known then
  local at, has_credit, counted, dimensions = match(mark, '^%a+ (%d+) ([01])|([%d ]+)|(.*)$')
  count('-', at, has_credit, counted, dimensions)
end
if known or state ~= 'withdrawn' then
  count('', counts_at, ARGV[6], counters, ARGV[3])
  if known then
    call('XADD', KEYS[5], '*', 't', 'correction', 'r', ARGV[1], 'was', mark)
  else
    call('XADD', KEYS[5], '*', 't', 'event', 'r', ARGV[1])
  end
end

local settled = state .. ' ' .. counts_at
if state ~= 'exact' and state ~= 'withdrawn' then -- may still be corrected
  settled = settled .. ' ' .. ARGV[6] .. '|' .. gsub(counters, ',', ' ') .. '|' .. ARGV[3]
end
call('SET', KEYS[6], settled, 'PX', MARK_MS)
return known and CORRECTED or STORED
