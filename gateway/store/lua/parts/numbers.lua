-- numbers.lua: a whole number as text. Lua's own conversions turn large ones into 1e+13.
local function int(number)
  return string.format('%.0f', number)
end
