-- The fence of a shard: writes are taken only on the very server whose data were compared with Kafka last.
--
-- A server that was restarted, or took over from another, has another run id than the fence says, so it takes no writes
-- until it was compared and the fence was lifted anew.
--
-- KEYS  1 the fence      ARGV  1 "look" or "lift"
-- Returns "open", or "fenced".

local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if ARGV[1] == 'lift' then redis.call('SET', KEYS[1], run_id) end
if redis.call('GET', KEYS[1]) == run_id then return 'open' end
return 'fenced'
