-- clock.lua: the time of the server, ms, so that all replicas agree. Tests put a clock of their own here.
local function now_ms()
  local time = call('TIME')
  return time[1] * 1000 + floor(time[2] / 1000)
end
