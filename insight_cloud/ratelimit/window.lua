-- One request against all of its policies: noted in the log of each, or in none.
--
-- KEYS[i]  the log of policy i: 4 bytes that say where the next time goes, then a ring of
--          8 bytes a permit: when it was given, in microseconds of this server's clock
-- ARGV     cost (0 only looks), then limit and window in microseconds of each policy
-- answers  now, admitted (1 or 0), then of each policy: permits left, microseconds until this
--          cost is admitted, microseconds until more permits are left
local cost = tonumber(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function open(key, limit)
  -- Small logs are read in one piece; of large ones only the times that the search visits.
  local text = limit <= 512 and (redis.call('GET', key) or '')
  local size = text and #text or redis.call('STRLEN', key)
  local log = { key = key, count = size < 12 and 0 or (size - 4) / 8, head = 0 }
  if log.count == 0 then return log end
  log.head = struct.unpack('<I4', text or redis.call('GETRANGE', key, 0, 3))
  log.at = function(index)
    local place = 4 + 8 * ((log.head + index) % log.count)
    if text then return (struct.unpack('<d', text, place + 1)) end
    return (struct.unpack('<d', redis.call('GETRANGE', key, place, place + 7)))
  end
  return log
end

-- Store the log in order, from index `first` on; no time may lie in the future.
local function rewrite(log, first, window)
  local times = {}
  for index = first, log.count - 1 do
    times[#times + 1] = struct.pack('<d', math.min(log.at(index), now))
  end
  local text = struct.pack('<I4', #times) .. table.concat(times)
  redis.call('SET', log.key, text, 'PX', math.ceil(window / 1000) + 1)
end

-- The index of the oldest permit that is in the window.
local function oldest(log, edge)
  local low, high = 0, log.count
  while low < high do
    local middle = math.floor((low + high) / 2)
    if log.at(middle) > edge then high = middle else low = middle + 1 end
  end
  return low
end

local admitted = 1
local logs = {}
local answer = { now, 1 }
for i, key in ipairs(KEYS) do
  local limit, window = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local log = open(key, limit)
  -- The clock was set back, or the limit changed while the ring was turned.
  if log.count > 0 and (log.at(log.count - 1) > now
      or (log.count ~= limit and log.head ~= log.count)) then
    rewrite(log, 0, window)
    log = open(key, limit)
  end
  log.limit, log.window = limit, window
  log.first = log.count > 0 and oldest(log, now - window) or 0
  log.live = log.count - log.first
  log.wait = 0
  if log.live + cost > limit then
    if cost > 0 then admitted = 0 end
    log.wait = cost > 0 and log.at(log.first + log.live + cost - limit - 1) + window - now or 0
  end
  logs[i] = log
end

local function note(log)
  local limit, key = log.limit, log.key
  if log.count > limit then  -- the limit was lowered and the surplus has left the window
    rewrite(log, log.first, log.window)
    log.count, log.head = log.live, log.live
  end
  local place = log.count < limit and log.count or log.head % limit
  local time = struct.pack('<d', now)
  local straight = math.min(cost, limit - place)
  redis.call('SETRANGE', key, 4 + 8 * place, string.rep(time, straight))
  if cost > straight then redis.call('SETRANGE', key, 4, string.rep(time, cost - straight)) end
  local head = place + cost
  if head > limit then head = head - limit end
  redis.call('SETRANGE', key, 0, struct.pack('<I4', head))
  redis.call('PEXPIRE', key, math.ceil(log.window / 1000) + 1)
end

for _, log in ipairs(logs) do
  local following = log.live > 0 and log.at(log.first) + log.window - now or 0
  local left = log.limit - log.live
  if admitted == 1 and cost > 0 then
    left = left - cost
    if log.live == 0 then following = log.window end
    note(log)
  end
  answer[#answer + 1] = math.max(0, left)
  answer[#answer + 1] = math.ceil(log.wait)
  answer[#answer + 1] = math.ceil(following)
end
answer[2] = admitted
return answer
