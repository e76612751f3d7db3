-- Reads a page of a destination's stream, if the stream reaches back far enough.
--
-- KEYS: ringway:history:{N}, ringway:stream:{N}
-- ARGV: 1 what: last (so many before the end), after (behind a place) or unstored (behind the
--       watermark); 2 how many, or the epoch; 3 the seq; 4 how many entries; 5 how many bytes;
--       6 the oldest entry as an earlier answer named it: with nothing trimmed since, what is
--       before it was read elsewhere meanwhile, and the page may begin with it
-- Answer: {1 if it reaches, epoch and seq of the end, the oldest entry or "", 1 if there is more,
--          id, envelope, key, id, envelope, key, …}
local state, stream = KEYS[1], KEYS[2]
local it = redis.call('HMGET', state, 'epoch', 'seq', 'stored_epoch', 'stored_seq')
local epoch, seq = tonumber(it[1]), tonumber(it[2])
local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
oldest = oldest and oldest[1] or ''
local reaches = 0
local e, s = tonumber(ARGV[2]), tonumber(ARGV[3])
if ARGV[1] == 'unstored' then
  e, s, reaches = tonumber(it[3]) or 0, tonumber(it[4]) or 0, 1
elseif epoch then
  local wants_end = ARGV[1] == 'last' and e == 0
  if ARGV[1] == 'last' then e, s = epoch, seq - e end
  if wants_end or e == epoch and s == seq then
    reaches = 1
  elseif e == epoch and 0 <= s and s < seq then
    local first = redis.call('XRANGE', stream, string.format('%.0f-0', epoch), '+', 'COUNT', 1)[1]
    first = first and tonumber(string.match(first[1], '%d+$'))
    if first and first <= s + 1 then reaches = 1 end
  end
  if ARGV[1] == 'last' and reaches == 0 then e, s = 0, 0 end
elseif ARGV[1] == 'last' then
  -- What will be said first comes behind this: an epoch is not less than its first millisecond.
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  if e == 0 then return {1, now, 0, oldest, 0} end
  e, s = 0, 0
end
if not epoch then
  epoch, seq = 0, 0
end
if reaches == 0 and ARGV[6] == oldest and ARGV[6] ~= 'none' then reaches = 1 end
local answer = {reaches, epoch, seq, oldest, 0}
if reaches == 0 then return answer end
local count, bytes = tonumber(ARGV[4]), 0
local behind = string.format('(%.0f-%.0f', e, s)
for at, entry in ipairs(redis.call('XRANGE', stream, behind, '+', 'COUNT', count + 1)) do
  bytes = bytes + #entry[2][2]
  if count < at or 1 < at and tonumber(ARGV[5]) < bytes then
    answer[5] = 1
    break
  end
  answer[#answer + 1] = entry[1]
  answer[#answer + 1] = entry[2][2]
  answer[#answer + 1] = entry[2][4]
end
return answer
