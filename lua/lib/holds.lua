-- Holds: what is set aside of counters and grants until it is used, given back, or due.
--
-- A record is msgpack: {state, expires_ms, ended_ms, fingerprint, amounts of the two sections, what was settled of them,
-- starts, parts, details}. `starts` has, of each constraint's counter, the period start at which it was held, `parts`
-- what was held of each grant, in burn order (doubles). `details` are the client's: which counters, and the rest.
-- `due` only finds; the record decides.

local OPEN, SETTLED, RELEASED, EXPIRED = 1, 2, 3, 4
local KEPT_MS = 86400000 -- how long a record stays after its end, for repeats

-- Lets `@x`, and the customer's place among those with holds, say when the next one is due.
local function tell_next_due(call, usage, due, partition_due, customer)
  local first = call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if first[1] then
    local expires_ms = tonumber(first[2])
    call('HSET', usage, '@x', struct.pack('<d', expires_ms))
    call('ZADD', partition_due, first[2], customer)
  else
    call('HDEL', usage, '@x')
    call('ZREM', partition_due, customer)
  end
end

-- Takes back what was held of a counter. It stays in the period that it is in.
local function without_hold(value, amount)
  local start_ms, used = struct.unpack('<dd', value)
  local held = #value == 24 and struct.unpack('<d', value, 17) or 0
  local rest = add(held, -amount)
  if not (rest and rest > 0) then rest = 0 end
  return start_ms, used, rest
end
