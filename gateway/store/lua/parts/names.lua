-- names.lua: what the scripts use most, under local names: a global one is looked up at each use.
local KEYS, ARGV, call = KEYS, ARGV, redis.call
local find, format, gsub, match, sub = string.find, string.format, string.gsub, string.match, string.sub
local floor, max, min = math.floor, math.max, math.min
