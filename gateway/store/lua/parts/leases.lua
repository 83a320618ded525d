-- leases.lua: how long a reservation, a count of calls and a process live unless they are renewed.
local LEASE_MS = 30000

-- Where the clock went back, leases of the dead would run for as long as it went: no lease ends later than
-- one that begins now.
local function shorten_leases(key, now)
  local longest = int(now + LEASE_MS)
  local members = call('ZRANGEBYSCORE', key, '(' .. longest, '+inf')
  for i = 1, #members do
    call('ZADD', key, longest, members[i])
  end
end
