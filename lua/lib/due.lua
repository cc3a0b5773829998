-- Holds that are due: their expiry has passed, and they still stand in counters.
-- What would be a refusal is no verdict until they are freed.

-- Whether a hold of the customer is due. `@x` is the earliest expiry of an open one.
local function holds_are_due(call, usage, now_ms)
  local earliest = call('HGET', usage, '@x')
  return earliest and struct.unpack('<d', earliest) <= now_ms
end
