-- Takes destinations whose watermark has stood still below something for too long; nobody else is
-- given them for as long again.
--
-- KEYS: ringway:unstored
-- ARGV: 1 for how many ms, 2 how many destinations
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due =
  redis.call('ZRANGE', KEYS[1], '-inf', now - ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, name in ipairs(due) do redis.call('ZADD', KEYS[1], 'XX', now, name) end
return due
