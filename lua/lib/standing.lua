-- The counters as they stand at this instant: what a check and a refusal answer.

-- Puts them into `reply` from its third element on.
local function stand(reply, request, counts, position, read, now_ms)
  local element, skip = 3, 1
  for index = 1, #counts do
    for place = skip + 1, skip + counts[index] do
      local start_ms, length_ms, _
      _, start_ms, length_ms, _, position = struct.unpack('<dddB', request, position)
      reply[element] = with_care(read[index][place], nil, start_ms, length_ms, now_ms)
      element = element + 1
    end
    skip = 0
  end
  return reply
end
