-- Writes the counters that `decide` put into `reply`. A consume without credits has the same loop in its own body.

local function count_all(call, keys, argv, counts, first_field, reply)
  local field, element = first_field, 3
  for index = 1, #counts do
    local written = {}
    for offset = 1, counts[index] do
      written[offset * 2 - 1], written[offset * 2] = argv[field], reply[element]
      field, element = field + 1, element + 1
    end
    if written[1] then call('HSET', keys[index + 1], unpack(written)) end
  end
end
