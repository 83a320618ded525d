-- admit.lua: admit a call and take all it needs of the key's bounds, or take nothing.
-- KEYS[1]            the key's record {record, rev, last_used_at}
-- KEYS[2]            its buckets and calls at once (keys.py: key_limits)
-- KEYS[3]            its money (key_account); day and month stand at KEYS[3]:yyyymmdd and :yyyymm, same slot
-- KEYS[4], KEYS[5]   reservations and leases of the shard
-- KEYS[6]            the call's mark
-- ARGV[1], ARGV[2]   request id, tokens
-- ARGV[3]            bound of the cost, nano-dollars; "-" = unknown, only where nothing is held
-- ARGV[4]            basis of the record, should the process die
-- ARGV[5]..ARGV[7]   revision, process (no spaces), key id
-- ARGV[8]..ARGV[10]  limits: requests a minute, tokens a minute, calls at once; "" = unlimited
-- ARGV[11], ARGV[12] budget: "day", "month", "total" or "", and its limit, nano-dollars
-- ARGV[13]           1 = paid from credit, else 0
-- RETURNS            {verdict, admitted at ms, level of requests, level of tokens, calls at once, budget left,
--                    credit left}; levels as in parts/bucket.lua; verdict 0 stale (alone), 1 admitted, 2 to 6
--                    refused by requests, tokens, concurrency, budget, credit
-- CLOCK              Redis TIME, so gateway replicas agree; it may step either way
-- OWNER              limits, day and month expire; account: the key; reservation and lease: its settlement
local STALE, ADMITTED, REQUESTS, TOKENS, CONCURRENCY, BUDGET, CREDIT = 0, 1, 2, 3, 4, 5, 6
local IDLE_MS, DAY_MS, MONTH_MS = 120000, 4 * 86400000, 64 * 86400000

if redis.call('HGET', KEYS[1], 'rev') ~= ARGV[5] then
  return {STALE}
end

local now = now_ms()
local id, process, limits = ARGV[1], ARGV[6], KEYS[2]

-- Drop the calls of processes that did not renew them. Returns calls at once, and those of this process.
local function count_anew()
  local fields, calls, ends = redis.call('HGETALL', limits), {}, {}
  for i = 1, #fields, 2 do
    local kind, owner = string.match(fields[i], '^([ne]):(.*)$')
    if kind == 'n' then
      calls[owner] = tonumber(fields[i + 1])
    elseif kind == 'e' then
      ends[owner] = tonumber(fields[i + 1])
    end
  end
  local open, check_at = 0, now + LEASE_MS
  for owner, ends_at in pairs(ends) do
    if ends_at <= now then
      redis.call('HDEL', limits, 'n:' .. owner, 'e:' .. owner, 's:' .. owner)
      calls[owner] = nil
    else
      if ends_at > now + LEASE_MS then -- the clock went back
        redis.call('HSET', limits, 'e:' .. owner, int(now + LEASE_MS))
      end
      open = open + calls[owner]
      check_at = math.min(check_at, ends_at)
    end
  end
  redis.call('HSET', limits, 'open', open, 'check_at', int(check_at))
  return open, calls[process]
end

local calls_field, since_field = 'n:' .. process, 's:' .. process
local kept = redis.call('HMGET', limits, 'rpm', 'rpm_at', 'rpm_of', 'tpm', 'tpm_at', 'tpm_of', 'open',
  'check_at', calls_field, since_field)
local open, check_at, own_calls, since = tonumber(kept[7]) or 0, tonumber(kept[8]), tonumber(kept[9]), kept[10]
if check_at and (now >= check_at or check_at > now + LEASE_MS) then
  open, own_calls = count_anew()
end

local verdict = ADMITTED

local rpm, rpm_level = tonumber(ARGV[8]), 0
if rpm == 0 then
  verdict = REQUESTS
elseif rpm then
  rpm_level = level_at(now, rpm, kept[1], kept[2], kept[3])
  if rpm_level + UNIT > rpm * UNIT then
    verdict = REQUESTS
  end
end

local tpm, tpm_level, tokens = tonumber(ARGV[9]), 0, tonumber(ARGV[2])
if tpm == 0 then
  verdict = verdict == ADMITTED and TOKENS or verdict
elseif tpm then
  tpm_level = level_at(now, tpm, kept[4], kept[5], kept[6])
  if verdict == ADMITTED and tpm_level + (tokens - tpm) * UNIT > 0 then
    verdict = TOKENS
  end
end

local concurrency = tonumber(ARGV[10])
if verdict == ADMITTED and concurrency and open >= concurrency then
  verdict = CONCURRENCY
end

local period, has_credit = ARGV[11], ARGV[13] == '1'
local bound, budget_left, credit_left, day, month = 0, 0, 0, nil, nil
if period ~= '' or has_credit then
  bound = tonumber(ARGV[3])
  day = KEYS[3] .. ':' .. day_of(now)
  month = string.sub(day, 1, -3)
  local total = redis.call('HMGET', KEYS[3], 'cost_nanousd', 'held', 'granted', 'spent')
  if period ~= '' then
    local used = total
    if period ~= 'total' then
      used = redis.call('HMGET', period == 'day' and day or month, 'cost_nanousd', 'held')
    end
    local unspent = tonumber(ARGV[12]) - (tonumber(used[1]) or 0)
    budget_left = unspent - (tonumber(used[2]) or 0)
    if verdict == ADMITTED and (unspent <= 0 or bound > budget_left) then
      verdict = BUDGET
    end
  end
  if has_credit then
    local unspent = (tonumber(total[3]) or 0) - (tonumber(total[4]) or 0)
    credit_left = unspent - (tonumber(total[2]) or 0)
    if verdict == ADMITTED and (unspent <= 0 or bound > credit_left) then
      verdict = CREDIT
    end
  end
end

-- An earlier admission of this call stands as it was, settled since or not.
local earlier = redis.call('GET', KEYS[6]) or redis.call('HGET', KEYS[4], id)
if earlier then
  return {ADMITTED, tonumber(string.match(earlier, '%d+')), rpm_level, tpm_level, open, budget_left, credit_left}
end

local is_taken, now_text = verdict == ADMITTED, int(now)
if is_taken then
  local lease = int(now + LEASE_MS)
  if not own_calls then
    since = now_text
    redis.call('HSET', limits, since_field, since)
  end
  redis.call('HSET', KEYS[4], id, now_text .. ' ' .. process .. ' ' .. since .. ' ' .. ARGV[2] .. ' '
    .. int(bound) .. ' ' .. ARGV[3] .. ' ' .. ARGV[13] .. ' ' .. ARGV[7] .. ' ' .. ARGV[4])
  redis.call('ZADD', KEYS[5], lease, id)
  open, rpm_level, tpm_level = open + 1, rpm_level + UNIT, tpm_level + tokens * UNIT
  redis.call('HSET', limits, 'open', open, calls_field, (own_calls or 0) + 1, 'e:' .. process, lease)
  if not check_at then
    redis.call('HSET', limits, 'check_at', lease)
  end
  if bound > 0 then
    budget_left, credit_left = budget_left - bound, credit_left - bound
    redis.call('HINCRBY', KEYS[3], 'held', ARGV[3])
    redis.call('HINCRBY', day, 'held', ARGV[3])
    redis.call('PEXPIRE', day, DAY_MS)
    redis.call('HINCRBY', month, 'held', ARGV[3])
    redis.call('PEXPIRE', month, MONTH_MS)
  end
end

-- Where the clock went back or the limit has changed, a refusal writes the level too, or it would drain at the
-- wrong pace until a call fits.
local function is_outdated(written_at, written_of, limit)
  return written_at and (now < tonumber(written_at) or limit ~= tonumber(written_of))
end
local is_written = is_taken
if rpm and rpm > 0 and (is_taken or is_outdated(kept[2], kept[3], rpm)) then
  redis.call('HSET', limits, 'rpm', int(rpm_level), 'rpm_at', now_text, 'rpm_of', ARGV[8])
  is_written = true
end
if tpm and tpm > 0 and (is_taken or is_outdated(kept[5], kept[6], tpm)) then
  redis.call('HSET', limits, 'tpm', int(tpm_level), 'tpm_at', now_text, 'tpm_of', ARGV[9])
  is_written = true
end
if is_written then
  redis.call('PEXPIRE', limits, int(math.max(IDLE_MS, tpm and tpm > 0 and tpm_level / tpm or 0)))
end
return {verdict, now, rpm_level, tpm_level, open, budget_left, credit_left}
