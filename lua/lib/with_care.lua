-- One counter by all the rules: another period, something held, a fraction, a wild start, or no counter yet.
--
-- The parts are put in here, not above: a function is made each time that a script comes by, and this way these are
-- made only when a counter needs them. Most scripts run without.

-- Returns the counter as it would be written, what it would stand at with what is held (nil: out of range), and 1 if a
-- wild start was put right, else 0. Without an amount: the counter as it stands.
local function with_care(value, amount, start_ms, length_ms, now_ms)
-- @include lib/amounts
-- @include lib/counters
  local start, used, held, was_wild = read_counter(value, start_ms, length_ms, now_ms)
  if not amount then return write_counter(start, used, held) end
  local sum = add(used, amount)
  local total = sum
  if sum and held ~= 0 then total = add(sum, held) end
  return write_counter(start, sum or used, held), total, was_wild
end
