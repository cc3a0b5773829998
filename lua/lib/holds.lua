-- Holds: what is set aside of counters and grants until it is used, given back, or due.
--
-- A record is msgpack: {state, expires_ms, ended_ms, fingerprint, amounts of the two sections, what was settled of
-- them, starts, parts, reserved_ms, details}. `starts` has, of each constraint's counter, the period start at which it
-- was held, `parts` what was held of each grant, in burn order (doubles). `details` are the client's: which counters,
-- and the rest.
-- `due` only finds; the record decides.

local OPEN, SETTLED, RELEASED, EXPIRED = 1, 2, 3, 4
local KEPT_MS = 86400000 -- how long a record stays after its end, for repeats

-- Asks for all that rights or types can refuse, and changes nothing: a script is not rolled back. A Redis 6.2 that is
-- full refuses a script's first write if it may take memory; what comes after one that takes none passes.
local function ask_for_rights(call, usage, due, partition_due, ended)
  call('ZRANGE', ended, 0, 0)
  call('HDEL', usage, '')
  call('ZREM', partition_due, '')
  call('ZADD', due, 'XX', 0, '')
end

-- Lets `@x` say when the next hold is due, and the customer's place in its partition when there is something to sweep:
-- a hold that is due, or a record that goes.
local function tell_next_due(call, usage, due, partition_due, ended, customer)
  local open, gone = call('ZRANGE', due, 0, 0, 'WITHSCORES')[2], call('ZRANGE', ended, 0, 0, 'WITHSCORES')[2]
  if open then
    call('HSET', usage, '@x', struct.pack('<d', tonumber(open)))
  else
    call('HDEL', usage, '@x')
  end
  local next_ms = open
  if gone and not (open and tonumber(open) <= tonumber(gone)) then next_ms = gone end
  if next_ms then
    call('ZADD', partition_due, next_ms, customer)
  else
    call('ZREM', partition_due, customer)
  end
end

-- The record of an open hold as one that has expired. Only its state differs, the one byte after that of the array: it
-- ended when it expired, and thousands are freed at a time.
local function expired(record)
  return record:sub(1, 1) .. string.char(EXPIRED) .. record:sub(3)
end

-- Takes back what was held of a counter. It stays in the period that it is in.
local function without_hold(value, amount)
  local start_ms, used = struct.unpack('<dd', value)
  local held = #value == 24 and struct.unpack('<d', value, 17) or 0
  local rest = add(held, -amount)
  if not (rest and rest > 0) then rest = 0 end
  return start_ms, used, rest
end
