-- One step: a card, its case, the lists of cases and the outbox change together, or nothing does.
--
-- KEYS  1 the record under the step's id     2 the card             3 the case it touches (or any key of the shard)
--       4 the outbox                         5 the list that held the case       6 the list that holds it now
--       7 the alarms: cases by when time has something to do with them
--       8 the traits of open cases by their ids
--       9... for each merchant, terminal or device that the case is new to: the cases that have to do with it
--       last: the shard's fence
-- ARGV  1 the card's version before          2 its version after    3 the card
--       4 the record                         5 for how many ms to remember it    6 the outbox's limit in entries
--       7 the case, "" if none is touched    8 its position before, "" if none   9 its position now
--      10 for how many ms to keep the case, "0" for ever
--      11 forget positions of list 6 behind this one, "" to forget none
--      12 the step's time                   13 the case's alarm, "" for none
--      14 the case's id                     15 for how many ms related cases are remembered
--      16 the case's traits while it is open, "" for none
--      17 number of events                  18... pairs of sequence and event,
--      then for each message: topic, key, value, headers.
-- Returns "applied", "stale" (done before, or the card has changed), "full" (the outbox has no room) or "fenced" (see
-- fence.lua).

local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if redis.call('GET', KEYS[#KEYS]) ~= run_id then return 'fenced' end

if redis.call('EXISTS', KEYS[1]) == 1 then return 'stale' end
local version = redis.call('HGET', KEYS[2], 'version') or ''
if version ~= ARGV[1] then return 'stale' end

local first_message = 18 + 2 * tonumber(ARGV[17])
if first_message <= #ARGV and redis.call('XLEN', KEYS[4]) >= tonumber(ARGV[6]) then return 'full' end

redis.call('HSET', KEYS[2], 'version', ARGV[2], 'card', ARGV[3])
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])

if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[3], 'case', ARGV[7])
  for index = 18, first_message - 1, 2 do
    redis.call('HSET', KEYS[3], ARGV[index], ARGV[index + 1])
  end
  if ARGV[10] ~= '0' then redis.call('PEXPIRE', KEYS[3], ARGV[10]) else redis.call('PERSIST', KEYS[3]) end
  if ARGV[13] ~= '' then redis.call('ZADD', KEYS[7], ARGV[13], ARGV[14]) else redis.call('ZREM', KEYS[7], ARGV[14]) end
  if ARGV[16] ~= '' then redis.call('HSET', KEYS[8], ARGV[14], ARGV[16]) else redis.call('HDEL', KEYS[8], ARGV[14]) end
  for index = 9, #KEYS - 1 do
    redis.call('ZADD', KEYS[index], ARGV[12], ARGV[14])
    -- The latest 100 are enough to see what is going on at a place.
    redis.call('ZREMRANGEBYRANK', KEYS[index], 0, -101)
    redis.call('PEXPIRE', KEYS[index], ARGV[15])
  end
  if ARGV[8] ~= '' then redis.call('ZREM', KEYS[5], ARGV[8]) end
  redis.call('ZADD', KEYS[6], 0, ARGV[9])
  if ARGV[11] ~= '' then redis.call('ZREMRANGEBYLEX', KEYS[6], '(' .. ARGV[11], '+') end
end

for index = first_message, #ARGV, 4 do
  redis.call('XADD', KEYS[4], '*', 'topic', ARGV[index], 'key', ARGV[index + 1], 'value', ARGV[index + 2],
    'headers', ARGV[index + 3], 'time_ms', ARGV[12])
end
return 'applied'
