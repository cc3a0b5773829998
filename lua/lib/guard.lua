-- The guard: is a prepared request still true? Nothing is decided, and nothing written, before it has passed.
--
-- The environment's clock must be the one that the script was built for, nobody may have stopped waiting for the
-- call, both tokens must be those that the request was prepared from, and the instant must lie in its window.

-- Returns a status where the request may not go on, else nil; the instant; the amounts of the two sections; the
-- position of the first constraint in `request`; and the values of the usage hash: the customer's token, then its
-- counters.
local function guard(call, keys, argv, request, counts, first_field)
  -- Said again, though lib/statuses has them: each local of the script that a function uses is an allocation a call,
  -- and five of them were a fiftieth of a whole consume.
  local STALE = 0
  local MOVED_ON = 3
  local LATE = 5
  local BLANK = 6
  local OTHER_CLOCK = 7

  local not_after_ms, given_now_ms, first_amount, second_amount, from_ms, until_ms, position =
    struct.unpack('<dddddd', request)
  local catalog_token = call('GET', keys[1])
  local now_ms = clock_now_ms(call, given_now_ms)
  if not catalog_token then return BLANK, now_ms end
  if catalog_token:byte(-1) ~= CLOCK then return OTHER_CLOCK, now_ms end
  if now_ms > not_after_ms then return LATE, now_ms end

  local values
  if counts[1] == 1 then -- always so where somebody asks; only a reading of many counters brings none
    values = call('HMGET', keys[2], '@v', argv[first_field])
  else
    values = call('HMGET', keys[2], '@v', unpack(argv, first_field, first_field + counts[1] - 1))
  end
  if catalog_token ~= argv[1] or (values[1] or '') ~= argv[2] then return STALE, now_ms end
  if now_ms < from_ms or now_ms >= until_ms then return MOVED_ON, now_ms end
  return nil, now_ms, first_amount, second_amount, position, values
end
