-- Counters: the field values of the usage hashes, and the one rule that says what a stored number means now.
--
-- A value is little-endian doubles: period start (epoch ms), used, and held while something is held: 16 or 24 bytes.
-- The period only moves forward. A stored start before the prepared one: used counts as 0, held stays. The same or
-- later: number and start stand. A start more than one period ahead of the clock was written by a wild clock: the
-- number stands, and the start is taken from the request.

-- Returns the start to write, used, held, and 1 if a wild start was put right, else 0.
local function read_counter(value, start_ms, length_ms, now_ms)
  if not value then return start_ms, 0, 0, 0 end
  local start, used = struct.unpack('<dd', value)
  local held = 0
  if #value == 24 then held = struct.unpack('<d', value, 17) end
  if start < start_ms then return start_ms, 0, held, 0 end
  if start > now_ms + length_ms then return start_ms, used, held, 1 end
  return start, used, held, 0
end

local function write_counter(start_ms, used, held)
  if held == 0 then return struct.pack('<dd', start_ms, used) end
  return struct.pack('<ddd', start_ms, used, held)
end
