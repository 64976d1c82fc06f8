-- Take back what one request was given, and nothing else.
--
-- KEYS  the logs of its policies, as in window.lua
-- ARGV  the time at which it was noted, in microseconds, and its cost
local stamp = tonumber(ARGV[1])
for _, key in ipairs(KEYS) do
  local text = redis.call('GET', key)
  if text and #text >= 12 then
    local cost = tonumber(ARGV[2])
    local count = (#text - 4) / 8
    local head = struct.unpack('<I4', text)
    local times = {}
    for index = 0, count - 1 do
      local place = 5 + 8 * ((head + index) % count)
      if cost > 0 and struct.unpack('<d', text, place) == stamp then
        cost = cost - 1
      else
        times[#times + 1] = string.sub(text, place, place + 7)
      end
    end
    if #times == 0 then
      redis.call('DEL', key)
    elseif #times < count then
      redis.call('SET', key, struct.pack('<I4', #times) .. table.concat(times), 'KEEPTTL')
    end
  end
end
return 1
