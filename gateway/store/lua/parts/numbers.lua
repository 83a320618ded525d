-- numbers.lua: whole numbers. Lua has floats, which are sure of them below 2^53.
local SURE = 9000000000000000

-- A whole number as text, where texts are joined: Lua's own conversions turn large ones into 1e+13. What is handed
-- to a command needs none, servers write it out in full.
local function int(number)
  return format('%.0f', number)
end

-- Add a field and its value to the arguments of an HSET.
local function put(arguments, field, value)
  local last = #arguments
  arguments[last + 1] = field
  arguments[last + 2] = value
end
