-- consume: count each section's amount on all of its constraints, if all of them are satisfied; else count nothing.
--
-- FLAGS  (none)
-- KEYS
--   [1] catalog    string   the catalog token that the customer's partition stands at
--   [2] usage      hash     @v, @x, and the account-level counters
--   [3..] buckets  hash     entity counters, 64 a hash
-- ARGV
--   [1] catalog_token  string   the token of the catalog that the request was prepared from
--   [2] version        string   the customer's configuration token, likewise; empty where there was no customer
--   [3] request        doubles  not after, given now (epoch ms), amounts of the two sections; from, until (epoch ms);
--                               then of each constraint: limit, start (epoch ms), length (ms), section (a byte, 1 or 2)
--   [4] layout         bytes    how many constraints have their counters in usage, and in each bucket
--   [5..] fields       string   the fields of the counters, in the order of the constraints
-- REPLY
--   {status, server_now_ms, counter of each constraint, wild starts if any}
--   1 granted (counters after), 2 refused (counters as they stand), 0 stale, 3 moved_on, 4 sweep_first,
--   5 late, 6 blank, 7 other_clock
-- ERRORS
--   OUT_OF_RANGE  a sum would leave the range of exact numbers; nothing was written
-- COST
--   GET, TIME, HMGET, HGET, HSET: 4 calls, and 2 for each bucket, O(constraints)
-- @include lib/statuses
-- @include lib/clock
-- @include lib/guard
-- @include lib/decision

local KEYS, ARGV, call = KEYS, ARGV, redis.call
local request, layout, fields = ARGV[3], ARGV[4], 5
local counts = { layout:byte(1, -1) }

local status, now_ms, first_amount, second_amount, position, values = guard(call, KEYS, ARGV, request, counts, fields)
if status then return { status, now_ms } end

-- With room for four counters where there are as many: a table that grows is allocated anew.
local reply = #ARGV < fields + 3 and { GRANTED, now_ms } or { GRANTED, now_ms, '', '', '', '' }
local satisfied, out_of_range, read, wild =
  decide(call, KEYS, ARGV, request, counts, fields, now_ms, first_amount, second_amount, position, values, reply)
if not satisfied then
-- @include lib/due
-- @include lib/standing
  if holds_are_due(call, KEYS[2], now_ms) then return { SWEEP_FIRST, now_ms } end
  return stand({ REFUSED, now_ms }, request, counts, position, read, now_ms)
end
if out_of_range then return redis.error_reply('OUT_OF_RANGE a sum would leave the range of exact numbers') end

local field, element = fields, 3
for index = 1, #counts do
  local key, count = KEYS[index + 1], counts[index]
  -- One to three are written out: a table to hold them would cost as much as the rest of this loop.
  if count == 1 then
    call('HSET', key, ARGV[field], reply[element])
  elseif count == 2 then
    call('HSET', key, ARGV[field], reply[element], ARGV[field + 1], reply[element + 1])
  elseif count == 3 then
    local second, third = ARGV[field + 1], ARGV[field + 2]
    call('HSET', key, ARGV[field], reply[element], second, reply[element + 1], third, reply[element + 2])
  elseif count > 3 then
    local written = {}
    for offset = 0, count - 1 do
      written[offset * 2 + 1], written[offset * 2 + 2] = ARGV[field + offset], reply[element + offset]
    end
    call('HSET', key, unpack(written))
  end
  field, element = field + count, element + count
end
if wild > 0 then reply[#reply + 1] = wild end
return reply
