-- cache_read.lua: frames of a flight from a position on, and whether more will come.
-- KEYS[1]            flight
-- KEYS[2]            its frames (cache_append.lua)
-- KEYS[3]            mark of who is followed (keys.py: cache_followed)
-- ARGV[1]            flight to be read
-- ARGV[2], ARGV[3]   position of the first frame wanted, from 0; how many at most
-- ARGV[4]            1 = mark the flight as followed, else 0
-- RETURNS            {0 open | 1 ended | 2 lost, frames}
local OPEN, ENDED, LOST = 0, 1, 2
local FOLLOWED_MS = 600
local flight = redis.call('HMGET', KEYS[1], 'id', 'frames')
if ARGV[4] == '1' and flight[1] == ARGV[1] then
  redis.call('SET', KEYS[3], ARGV[1], 'PX', FOLLOWED_MS)
end
local first, most = tonumber(ARGV[2]) + 1, tonumber(ARGV[3])
local found, frames = redis.call('XRANGE', KEYS[2], int(first) .. '-0', '+', 'COUNT', most), {}
if found[1] and found[1][1] ~= int(first) .. '-0' then
  return {LOST, frames} -- what stood here is no longer kept
end
for i = 1, #found do
  if found[i][2][1] == 'end' then
    return {ENDED, frames}
  end
  frames[i] = found[i][2][2]
end
if #found == most then
  return {OPEN, frames}
end
if flight[1] ~= ARGV[1] or tonumber(flight[2]) >= first + #found then
  return {LOST, frames}
end
return {OPEN, frames}
