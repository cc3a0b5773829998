-- The decision over all constraints of a request: every counter is read, nothing is written.
--
-- A constraint is satisfied if used + held + amount <= limit, phrased so that NaN refuses. No limit, and a soft one,
-- come as infinity. The loop takes the common case (a counter of this period, nothing held, whole numbers) without
-- calling a function of ours: three calls a constraint were a fifth of the whole script.
-- @include lib/with_care

-- Fills `reply` from its third element on with the counters as they would be written. Returns whether every constraint
-- is satisfied, whether a sum left the range of exact numbers, the values that were read of each key from the second
-- on, and how many wild starts were put right.
local function decide(
  call, keys, argv, request, counts, first_field, now_ms, first_amount, second_amount, position, values, reply
)
  local unpack_bytes, pack, whole_max = struct.unpack, struct.pack, 2 ^ 53 - 1
  local satisfied, out_of_range, wild = true, false, 0
  local read = { values, false, false, false } -- room for the common case: a table that grows is allocated anew
  local field, element, skip = first_field, 3, 1
  for index = 1, #counts do
    local count = counts[index]
    if index > 1 then
      skip = 0
      if count == 1 then -- as it is in a large customer: `unpack` would be a call more for nothing
        values = call('HMGET', keys[index + 1], argv[field])
      else
        values = call('HMGET', keys[index + 1], unpack(argv, field, field + count - 1))
      end
      read[index] = values
    end
    for place = skip + 1, skip + count do
      local limit, start_ms, length_ms, section
      limit, start_ms, length_ms, section, position = unpack_bytes('<dddB', request, position)
      local amount, value = section == 1 and first_amount or second_amount, values[place]
      local start, used, total
      if value then start, used = unpack_bytes('<dd', value) end
      if start == start_ms and #value == 16 and used % 1 == 0 and amount % 1 == 0 then
        total = used + amount
        reply[element] = pack('<dd', start, total)
      else
        local was_wild
        reply[element], total, was_wild = with_care(value, amount, start_ms, length_ms, now_ms)
        wild = wild + was_wild
      end

      if not total then
        out_of_range = true
      elseif not (total <= limit) then
        satisfied = false
      elseif total > whole_max then
        out_of_range = true
      end
      element = element + 1
    end
    field = field + count
  end
  return satisfied, out_of_range, read, wild
end
