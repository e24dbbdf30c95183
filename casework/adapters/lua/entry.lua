-- An entry of a hash changes (a circuit breaker, an entry of the desk's lists), and what must be told of it enters the
-- outbox, or nothing happens.
--
-- KEYS  1 the hash               2 the outbox             3 the fence
-- ARGV  1 the entry's name       2 its revision before    3 its revision after    4 the entry
--       5 the outbox's limit in entries                  6 the change's time
--       then for each message: topic, key, value, headers.
-- Returns "applied", "stale" (it has changed), "full" (the outbox has no room) or "fenced" (see fence.lua).

local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('GET', KEYS[3]) ~= run_id then return 'fenced' end

local known = redis.call('HGET', KEYS[1], ARGV[1])
local revision = known and string.match(known, '^(%d+) ') or '0'
if revision ~= ARGV[2] then return 'stale' end
if #ARGV > 6 and redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[5]) then return 'full' end

redis.call('HSET', KEYS[1], ARGV[1], ARGV[3] .. ' ' .. ARGV[4])
for index = 7, #ARGV, 4 do
  redis.call('XADD', KEYS[2], '*', 'topic', ARGV[index], 'key', ARGV[index + 1], 'value', ARGV[index + 2],
    'headers', ARGV[index + 3], 'time_ms', ARGV[6])
end
return 'applied'
