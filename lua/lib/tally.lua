-- What a report does to the counters of all constraints: they are read, and nothing is written yet.
-- @include lib/amounts
-- @include lib/counters

-- What a counter holds after the amount, and what of the amount was applied.
local function count(used, amount, start_ms, dated_ms)
  if amount < 0 and dated_ms < start_ms then return used, 0 end
  if amount < 0 and -amount >= used then return 0, add(0, -used) end
  return add(used, amount), amount
end

-- What of the credits a correction gives back: as much of them as the account-level counter took of the units. The
-- units of another period, and those that were never used, were not paid for here.
local function in_proportion(credits, asked, applied)
  if applied == asked then return credits end
  return -math.floor(credits * (applied / asked) * -100000 + 0.5) / 100000
end

-- Puts the counters as they would be written into `reply`. Returns what was applied to each, the fields and counters
-- to write by key, and how many wild starts were put right; or nothing where a sum is out of range.
local function tally(
  call, keys, argv, request, counts, first_field, now_ms, amounts, position, values, behaviour, dated_ms, reply
)
  local applied, writes = {}, {}
  local field, skip, wild = first_field, 1, 0
  for index = 1, #counts do
    local size = counts[index]
    if index > 1 then
      values, skip = call('HMGET', keys[index + 1], unpack(argv, field, field + size - 1)), 0
    end
    local pairs_of_key = {}
    for offset = 1, size do
      local _, start_ms, length_ms, section
      _, start_ms, length_ms, section, position = struct.unpack('<dddB', request, position)
      local start, used, held, was_wild = read_counter(values[offset + skip], start_ms, length_ms, now_ms)
      local after, change
      if behaviour == 'SET' and index == 1 then
        after, change = used, 0
        if not (dated_ms < start) then after, change = amounts[section], add(amounts[section], -used) end
        amounts[section] = change
      else
        after, change = count(used, amounts[section], start, dated_ms)
      end
      if not (after and change and after <= WHOLE_MAX and change == change) then return nil end
      if index == 1 and amounts[1] < 0 then amounts[2] = in_proportion(amounts[2], amounts[1], change) end
      local counter = write_counter(start, after, held)
      pairs_of_key[offset * 2 - 1], pairs_of_key[offset * 2] = argv[field], counter
      reply[#reply + 1], applied[#applied + 1] = counter, struct.pack('<d', change)
      field, wild = field + 1, wild + was_wild
    end
    writes[index] = pairs_of_key
  end
  return applied, writes, wild
end
