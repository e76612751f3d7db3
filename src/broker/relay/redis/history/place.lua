-- Gives a message its place in the history of its destination, appends it to the stream of the
-- destination and publishes it; or does nothing at all.
--
-- With N for Redis's name of the channel, such as ws:/topic/room.1:
-- KEYS: ringway:history:{N}, ringway:stream:{N}, ringway:key:{N}:<key>, ringway:unstored
-- ARGV: 1 PUBLISH (SPUBLISH in Redis Cluster), 2 N, 3 the envelope without seq and epoch,
--       4 what the store is to know of the key, 5 how many ms the key is known,
--       6 and 7 the highest epoch and seq that the caller has seen (0 0),
--       8 how many messages may wait for the store, 9 how many are kept where there is no store (0)
-- Answer: {"new", epoch, seq}, {"known", epoch, seq} for a key that was used before,
--         {"again", epoch, seq, envelope} when that message is not stored yet, or {"full"}
local state, stream, key, unstored = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local known = redis.call('GET', key)
local it = redis.call('HMGET', state, 'epoch', 'seq', 'run', 'stored_epoch', 'stored_seq')
local epoch, seq, run = tonumber(it[1]), tonumber(it[2]), it[3]
local stored_epoch, stored_seq = tonumber(it[4]) or 0, tonumber(it[5]) or 0
local keep = tonumber(ARGV[9])
if known then
  local e, s = string.match(known, '^(%d+)-(%d+)$')
  e, s = tonumber(e), tonumber(s)
  if keep == 0 and (stored_epoch < e or stored_epoch == e and stored_seq < s) then
    local entry = redis.call('XRANGE', stream, known, known)[1]
    if entry then return {'again', e, s, entry[2][2]} end
  end
  return {'known', e, s}
end
local seen_epoch, seen_seq = tonumber(ARGV[6]), tonumber(ARGV[7])
local run_now = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local is_behind = epoch and (epoch < seen_epoch or epoch == seen_epoch and seq < seen_seq)
local begins = not epoch or run ~= run_now or is_behind
local waiting = 0
if keep == 0 then
  if epoch and epoch == stored_epoch then
    waiting = seq - stored_seq
  else
    waiting = redis.call('XLEN', stream)
  end
  if tonumber(ARGV[8]) <= waiting then return {'full'} end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if begins then
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  local last_epoch = last and tonumber(string.match(last[1], '^(%d+)')) or 0
  epoch = math.max(now, (epoch or 0) + 1, seen_epoch + 1, last_epoch + 1)
  seq = 0
end
seq = seq + 1
local place = string.format('%.0f-%.0f', epoch, seq)
local text = string.sub(ARGV[3], 1, -2) .. string.format(',"seq":%.0f,"epoch":%.0f}', seq, epoch)
if begins then
  redis.call('HSET', state, 'epoch', string.format('%.0f', epoch), 'seq', 1, 'run', run_now)
else
  redis.call('HINCRBY', state, 'seq', 1)
end
if keep == 0 then
  redis.call('XADD', stream, place, 'e', text, 'k', ARGV[4])
  if begins or waiting == 0 then
    redis.call('PERSIST', state)
    redis.call('PERSIST', stream)
    redis.call('ZADD', unstored, 'NX', now, ARGV[2])
  end
else
  redis.call('XADD', stream, 'MAXLEN', '~', keep, place, 'e', text, 'k', ARGV[4])
end
redis.call('SET', key, place, 'PX', ARGV[5])
redis.call(ARGV[1], ARGV[2], text)
return {'new', epoch, seq}
