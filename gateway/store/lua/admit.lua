-- admit.lua: admit a call and take all it needs of the key's bounds, or take nothing.
-- KEYS[1]            the key's record {record, rev, last_used_at}
-- KEYS[2]            its buckets and calls at once (keys.py: key_limits)
-- KEYS[3]            its money (key_account); day and month stand at KEYS[3]:yyyymmdd and :yyyymm, same slot
-- KEYS[4], KEYS[5]   reservations and leases of the shard
-- KEYS[6]            the call's mark, which ends in its id
-- ARGV[1]            [tokens,bound]: the bound of the cost, nano-dollars; null = unknown, only where nothing is held
-- ARGV[2]            basis of the record, should the process die
-- ARGV[3]..ARGV[5]   revision, process (no spaces), key id
-- ARGV[6]..ARGV[8]   limits: requests a minute, tokens a minute, calls at once; "" = unlimited
-- ARGV[9], ARGV[10]  budget: "day", "month", "total" or "", and its limit, nano-dollars
-- ARGV[11]           1 = paid from credit, else 0
-- RETURNS            {verdict, admitted at ms, level of requests, level of tokens, calls at once, budget left,
--                    credit left}; levels as in parts/bucket.lua; verdict 0 stale (alone), 1 admitted, 2 to 6
--                    refused by requests, tokens, concurrency, budget, credit
-- CLOCK              Redis TIME, so gateway replicas agree; it may step either way
-- OWNER              limits, day and month expire; account: the key; reservation and lease: its settlement
local STALE, ADMITTED, REQUESTS, TOKENS, CONCURRENCY, BUDGET, CREDIT = 0, 1, 2, 3, 4, 5, 6
local DAY_MS, MONTH_MS = 4 * 86400000, 64 * 86400000

if call('HGET', KEYS[1], 'rev') ~= ARGV[3] then
  return {STALE}
end

local now = now_ms()
local id, process, limits = sub(KEYS[6], #'{s00}:mark:' + 1), ARGV[4], KEYS[2]
local tokens_text, bound_text = match(ARGV[1], '^%[(%d+),(%w+)')
bound_text = bound_text == 'null' and '-' or bound_text

local calls_field, since_field = 'n:' .. process, 's:' .. process
local kept = call('HMGET', limits, 'rpm', 'rpm_at', 'rpm_of', 'tpm', 'tpm_at', 'tpm_of', 'open', 'check_at',
  calls_field, since_field)
local open, check_at, own_calls, since = tonumber(kept[7]) or 0, tonumber(kept[8]), kept[9], kept[10]

-- Each LEASE_MS at the latest: drop the calls of processes that did not renew them.
local is_checked = check_at and (now >= check_at or check_at > now + LEASE_MS)
if is_checked then
  local fields, calls, ends = call('HGETALL', limits), {}, {}
  for i = 1, #fields, 2 do
    local kind, owner = match(fields[i], '^([ne]):(.*)$')
    if kind == 'n' then
      calls[owner] = tonumber(fields[i + 1])
    elseif kind == 'e' then
      ends[owner] = tonumber(fields[i + 1])
    end
  end
  open, check_at = 0, now + LEASE_MS
  for owner, ends_at in pairs(ends) do
    if ends_at <= now then
      call('HDEL', limits, 'n:' .. owner, 'e:' .. owner, 's:' .. owner)
      calls[owner] = nil
    else
      if ends_at > now + LEASE_MS then -- the clock went back
        call('HSET', limits, 'e:' .. owner, now + LEASE_MS)
      end
      open = open + calls[owner]
      check_at = min(check_at, ends_at)
    end
  end
  call('HSET', limits, 'open', open, 'check_at', check_at)
  own_calls = calls[process]
end

local verdict = ADMITTED

local rpm, rpm_level, is_rpm_outdated = tonumber(ARGV[6]), 0, false
if rpm == 0 then
  verdict = REQUESTS
elseif rpm then
  rpm_level, is_rpm_outdated = level_at(now, ARGV[6], kept[1], kept[2], kept[3])
  if rpm_level + UNIT > rpm * UNIT then
    verdict = REQUESTS
  end
end

local tpm, tpm_level, is_tpm_outdated = tonumber(ARGV[7]), 0, false
local tokens = tokens_text * UNIT
if tpm == 0 then
  verdict = verdict == ADMITTED and TOKENS or verdict
elseif tpm then
  tpm_level, is_tpm_outdated = level_at(now, ARGV[7], kept[4], kept[5], kept[6])
  if verdict == ADMITTED and tpm_level + tokens > tpm * UNIT then
    verdict = TOKENS
  end
end

local concurrency = tonumber(ARGV[8])
if verdict == ADMITTED and concurrency and open >= concurrency then
  verdict = CONCURRENCY
end

local period, has_credit = ARGV[9], ARGV[11] == '1'
local bound, budget_left, credit_left, day, month = 0, 0, 0, nil, nil
if period ~= '' or has_credit then
  bound = tonumber(bound_text)
  day = KEYS[3] .. ':' .. sub(hour_of(now), 1, 8)
  month = sub(day, 1, -3)
  local total = call('HMGET', KEYS[3], 'cost_nanousd', 'held', 'granted', 'spent')
  if period ~= '' then
    local used = total
    if period ~= 'total' then
      used = call('HMGET', period == 'day' and day or month, 'cost_nanousd', 'held')
    end
    local unspent = tonumber(ARGV[10]) - (tonumber(used[1]) or 0)
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

-- An earlier admission of this call stands as it was, settled since or not: it has left a mark or a lease.
local is_taken, lease = verdict == ADMITTED, now + LEASE_MS
local earlier = call('GET', KEYS[6])
if not earlier and not (is_taken and call('ZADD', KEYS[5], 'NX', lease, id) == 1) then
  earlier = call('HGET', KEYS[4], id)
end
if earlier then
  return {ADMITTED, tonumber(match(earlier, '%d+')), rpm_level, tpm_level, open, budget_left, credit_left}
end

local writes = {} -- of buckets and counts
if is_taken then
  open, rpm_level, tpm_level = open + 1, rpm_level + UNIT, tpm_level + tokens
  writes = {'open', open, calls_field, (own_calls or 0) + 1, 'e:' .. process, lease}
  local now_text = int(now)
  if not own_calls then
    since = now_text
    put(writes, since_field, since)
  end
  if not check_at then
    put(writes, 'check_at', lease)
  end
  call('HSET', KEYS[4], id, now_text .. ' ' .. process .. ' ' .. since .. ' ' .. tokens_text .. ' '
    .. (bound > 0 and bound_text or '0') .. ' ' .. bound_text .. ' ' .. ARGV[11] .. ' ' .. ARGV[5] .. ' ' .. ARGV[2])
  if bound > 0 then
    budget_left, credit_left = budget_left - bound, credit_left - bound
    call('HINCRBY', KEYS[3], 'held', bound_text)
    if call('HINCRBY', day, 'held', bound_text) == bound then -- perhaps its first field
      call('PEXPIRE', day, DAY_MS)
    end
    if call('HINCRBY', month, 'held', bound_text) == bound then
      call('PEXPIRE', month, MONTH_MS)
    end
  end
end

if rpm and rpm > 0 and (is_taken or is_rpm_outdated) then
  put(writes, 'rpm', rpm_level)
  put(writes, 'rpm_at', now)
  if kept[3] ~= ARGV[6] then
    put(writes, 'rpm_of', ARGV[6])
  end
end
if tpm and tpm > 0 and (is_taken or is_tpm_outdated) then
  put(writes, 'tpm', tpm_level)
  put(writes, 'tpm_at', now)
  if kept[6] ~= ARGV[7] then
    put(writes, 'tpm_of', ARGV[7])
  end
end
if #writes > 0 then
  call('HSET', limits, unpack(writes))
  local drained_in_ms = tpm and tpm > 0 and tpm_level / tpm or 0
  if is_checked or not check_at or drained_in_ms > IDLE_MS then
    prolong(limits, drained_in_ms)
  end
end
return {verdict, now, rpm_level, tpm_level, open, budget_left, credit_left}
