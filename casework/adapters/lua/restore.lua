-- What topics tell of a card is put back, as long as the shard is fenced: once it takes writes, they are newer.
--
-- KEYS  1 the fence      2... every key that is written
-- ARGV  each a JSON array: a command, the place of its key in KEYS, its further arguments.
-- Returns "applied", or "open" (nothing was done).

local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('GET', KEYS[1]) == run_id then return 'open' end
for index = 1, #ARGV do
  local step = cjson.decode(ARGV[index])
  redis.call(step[1], KEYS[step[2]], unpack(step, 3))
end
return 'applied'
