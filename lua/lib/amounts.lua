-- Exact sums of amounts: whole numbers to 2^53 - 1, fractions to 5 decimals below 2^35 (docs/design.md, "Amounts").
--
-- Two whole numbers are added plainly. Otherwise each operand becomes whole hundred-thousandths, these are added, and
-- the sum is divided by 100000: the nearest double to the decimal sum, so that 0.1 + 0.1 + 0.1 equals 0.3.
-- A sum of fractions beyond the range has no honest number: it is nil. NaN stays NaN, and NaN <= limit is false.

local WHOLE_MAX = 9007199254740991
local FRACTION_BELOW = 34359738368

local function add(a, b)
  if a % 1 == 0 and b % 1 == 0 then return a + b end
  if a >= FRACTION_BELOW or b >= FRACTION_BELOW or a <= -FRACTION_BELOW or b <= -FRACTION_BELOW then return nil end
  local sum = (math.floor(a * 100000 + 0.5) + math.floor(b * 100000 + 0.5)) / 100000
  if sum >= FRACTION_BELOW or sum <= -FRACTION_BELOW then return nil end
  return sum
end
