-- Messages enter an outbox that no step writes: of who saw what, so far.
--
-- They have half of its room, so that whoever looks cannot keep others from acting.
--
-- KEYS  1 the outbox             2 the fence
-- ARGV  1 how many entries the outbox may hold             2 the time
--       then for each message: topic, key, value, headers.
-- Returns "applied", "full" (the outbox has no room for them) or "fenced" (see fence.lua).

local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('GET', KEYS[2]) ~= run_id then return 'fenced' end

if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 'full' end
for index = 3, #ARGV, 4 do
  redis.call('XADD', KEYS[1], '*', 'topic', ARGV[index], 'key', ARGV[index + 1], 'value', ARGV[index + 2],
    'headers', ARGV[index + 3], 'time_ms', ARGV[2])
end
return 'applied'
