-- calendar.lua: the UTC hour of a time in ms, as yyyymmddhh text; of it 8 digits are the day, 6 the month.
-- Years begin in March here, so that the day a leap year adds is their last
-- (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
local function hour_of(ms)
  local days = floor(ms / 86400000) + 719468
  local era = floor(days / 146097)
  local day_of_era = days - era * 146097
  local year = floor((day_of_era - floor(day_of_era / 1460) + floor(day_of_era / 36524)
    - floor(day_of_era / 146096)) / 365)
  local day_of_year = day_of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * day_of_year + 2) / 153)
  local day = day_of_year - floor((153 * month + 2) / 5) + 1
  month = month < 10 and month + 3 or month - 9
  year = year + era * 400 + (month <= 2 and 1 or 0)
  return format('%d', ((year * 100 + month) * 100 + day) * 100 + floor(ms / 3600000) % 24)
end
