-- A shard's lists of cases, without those whose traits say that nobody asked for them.
--
-- KEYS  1 the traits of open cases by case id (see casework/traits.py)      2... a list of cases for each state
-- ARGV  1 where to begin, as ZRANGEBYLEX takes it    2 how many of each list at most
--       3 severest action     4 kind     5 who works on it now ('""' nobody)    6 "near" or "missed"    7 the time
--       8 who must be free to take it     9 their tier;   "*" where anything will do
-- Returns, for each list, positions in their order. What has no traits is among them: whoever asked looks for himself.

local CHUNK = 200
-- Names are JSON strings, as traits have them; this one is nobody's.
local NOBODY = '""'
local now = tonumber(ARGV[7])

local function is_over(from)
  return from ~= '' and now >= tonumber(from)
end

-- Most rows fail here, at their first fields, before anything is taken apart.
local function exactly(text)
  return text == '*' and '[^|]*' or (string.gsub(text, '%W', '%%%0'))
end
local pattern = '^' .. exactly(ARGV[3]) .. '|' .. exactly(ARGV[4]) .. '|'
  .. (ARGV[5] == NOBODY and '[^|]*' or exactly(ARGV[5])) .. '|'

local function admits(row)
  if not row then return true end
  if not string.find(row, pattern) then return false end
  local owner, locked_until, tier, pending, near_from, missed_from = string.match(row,
    '^[^|]*|[^|]*|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)')
  local worker = now < tonumber(locked_until) and owner or NOBODY
  if ARGV[5] ~= '*' and worker ~= ARGV[5] then return false end
  if ARGV[6] == 'near' and not is_over(near_from) then return false end
  if ARGV[6] == 'missed' and not is_over(missed_from) then return false end
  if ARGV[8] ~= '*' then
    if tonumber(tier) > tonumber(ARGV[9]) or pending ~= '' then return false end
    if worker ~= NOBODY and worker ~= ARGV[8] then return false end
  end
  return true
end

-- The positions of a list whose cases pass, in their order.
local function admitted(list)
  local found, from, last = {}, ARGV[1], CHUNK
  while last == CHUNK and #found < tonumber(ARGV[2]) do
    local positions = redis.call('ZRANGEBYLEX', list, from, '+', 'LIMIT', 0, CHUNK)
    last = #positions
    if last > 0 then
      local ids = {}
      -- A position is sixteen digits, a colon, and the case's id.
      for place = 1, last do ids[place] = string.sub(positions[place], 18) end
      local rows = redis.call('HMGET', KEYS[1], unpack(ids))
      for place = 1, last do
        if #found < tonumber(ARGV[2]) and admits(rows[place]) then found[#found + 1] = positions[place] end
      end
      from = '(' .. positions[last]
    end
  end
  return found
end

-- Where nothing is asked of the cases, their traits need not be read.
local is_narrow = false
for _, index in ipairs({3, 4, 5, 6, 8}) do is_narrow = is_narrow or ARGV[index] ~= '*' end

local answer = {}
for index = 2, #KEYS do
  answer[index - 1] = is_narrow and admitted(KEYS[index])
    or redis.call('ZRANGEBYLEX', KEYS[index], ARGV[1], '+', 'LIMIT', 0, tonumber(ARGV[2]))
end
return answer
