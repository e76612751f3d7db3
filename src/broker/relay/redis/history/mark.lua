-- Notes what is stored, moves the watermark over it, and trims what is below.
--
-- KEYS: ringway:history:{N}, ringway:stream:{N}, ringway:stored:{N}, ringway:unstored
-- ARGV: 1 N, 2 how many stay below the watermark, 3 how many ms a stored stream lives,
--       then of each run: epoch, first seq, last seq
-- Answer: epoch and seq of the watermark
--
-- The watermark is the last entry of the stream that is stored with all before it: it moves from
-- one entry to the next, and only onto those that somebody has noted.
local state, stream, stored, unstored = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local it = redis.call('HMGET', state, 'epoch', 'seq', 'stored_epoch', 'stored_seq')
local epoch, seq = tonumber(it[1]), tonumber(it[2])
if not epoch then return {0, 0} end
local e, s = tonumber(it[3]) or 0, tonumber(it[4]) or 0
local function id(e, s) return string.format('%.0f-%.0f', e, s) end
for at = 4, #ARGV, 3 do
  local run_epoch, first, last = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if e < run_epoch or e == run_epoch and s < last then
    if e == run_epoch and first <= s then first = s + 1 end
    redis.call('HSET', stored, id(run_epoch, first), string.format('%.0f', last))
  end
end
local was_epoch, was_seq = e, s
local next
while true do
  next = redis.call('XRANGE', stream, '(' .. id(e, s), '+', 'COUNT', 1)[1]
  local last = next and redis.call('HGET', stored, next[1])
  if not last then break end
  redis.call('HDEL', stored, next[1])
  e, s = tonumber(string.match(next[1], '^(%d+)')), tonumber(last)
end
if e ~= was_epoch or s ~= was_seq then
  redis.call('HSET', state, 'stored_epoch', id(e, s):match('^%d+'), 'stored_seq', id(e, s):match('%d+$'))
end
if e == epoch then
  redis.call('XTRIM', stream, 'MAXLEN', '~', math.max(tonumber(ARGV[2]), seq - s))
end
if not next then
  redis.call('DEL', stored)
  redis.call('ZREM', unstored, ARGV[1])
  redis.call('PEXPIRE', state, ARGV[3])
  redis.call('PEXPIRE', stream, ARGV[3])
elseif e ~= was_epoch or s ~= was_seq then
  local time = redis.call('TIME')
  redis.call('ZADD', unstored, 'XX', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
end
return {e, s}
