-- How far a replay has come, if its order still stands; it then goes on, or ends.
--
-- KEYS  1 the order              2 the progress of the last one       3 the worker that carries it out
-- ARGV  1 the order that is meant                                     2 its progress
--       3 the worker, empty to end the order                          4 for how many milliseconds it holds the order
-- Returns "taken", or "over" where that order does not stand any more; then nothing is changed.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'over' end

redis.call('SET', KEYS[2], ARGV[2])
if ARGV[3] == '' then
  redis.call('DEL', KEYS[1], KEYS[3])
else
  redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
end
return 'taken'
