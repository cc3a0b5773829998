-- The decision over all constraints of a request: every counter is read, nothing is written.
--
-- A constraint is satisfied if used + held + amount <= limit, phrased so that NaN refuses. No limit, and a soft one,
-- come as infinity. The loop takes the common case (a counter of this period, nothing held, whole numbers) without
-- calling a function: on a real server the three calls a constraint were a fifth of the whole script.

-- Fills `reply` from its third element on with the counters as they would be written, and `writes` with the fields
-- and values of each key. Returns whether every constraint is satisfied, whether a sum left the range of exact
-- numbers, the values that were read of each key, and how many wild starts were put right.
local function decide(call, keys, argv, request, layout, first_field, now_ms, amounts, position, values, reply, writes)
  local unpack_bytes, pack = struct.unpack, struct.pack
  local satisfied, out_of_range, read, wild = true, false, {}, 0
  local field, element, skip = first_field, 3, 1
  for key = 2, #keys do
    local count = layout:byte(key - 1)
    if key > 2 then
      values, skip = call('HMGET', keys[key], unpack(argv, field, field + count - 1)), 0
    end
    local pairs_of_key = {}
    for offset = 1, count do
      local limit, start_ms, length_ms, section
      limit, start_ms, length_ms, section, position = unpack_bytes('<dddB', request, position)
      local amount, value = amounts[section], values[offset + skip]
      local start, used, held, was_wild
      if value then start, used = unpack_bytes('<dd', value) end
      if start ~= start_ms or #value ~= 16 then
        start, used, held, was_wild = read_counter(value, start_ms, length_ms, now_ms)
        wild = wild + was_wild
      end
      local sum
      if used % 1 == 0 and amount % 1 == 0 then sum = used + amount else sum = add(used, amount) end
      local total = sum
      if held and sum then total = add(sum, held) end

      if not total then
        out_of_range = true
      elseif not (total <= limit) then
        satisfied = false
      elseif total > WHOLE_MAX then
        out_of_range = true
      end
      local counter = held and write_counter(start, sum or used, held) or pack('<dd', start, sum or used)
      pairs_of_key[offset * 2 - 1], pairs_of_key[offset * 2], reply[element] = argv[field], counter, counter
      field, element = field + 1, element + 1
    end
    read[key], writes[key] = values, pairs_of_key
  end
  return satisfied, out_of_range, read, wild
end

-- The counters as they stand at this instant, put into `reply` from its third element on: what a check and a refusal
-- answer.
local function stand(reply, keys, request, layout, position, read, now_ms)
  local element, skip = 3, 1
  for key = 2, #keys do
    for offset = 1 + skip, layout:byte(key - 1) + skip do
      local _, start_ms, length_ms
      _, start_ms, length_ms, _, position = struct.unpack('<dddB', request, position)
      local start, used, held = read_counter(read[key][offset], start_ms, length_ms, now_ms)
      reply[element], element = write_counter(start, used, held), element + 1
    end
    skip = 0
  end
  return reply
end
