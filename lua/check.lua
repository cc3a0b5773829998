-- check: would each section's amount fit all of its constraints now? Nothing is written.
--
-- FLAGS  allow-oom
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
--   {status, server_now_ms, counter of each constraint as it stands, wild starts if any}
--   1 granted, 2 refused, 0 stale, 3 moved_on, 4 sweep_first, 5 late, 6 blank, 7 other_clock
-- ERRORS
--   OUT_OF_RANGE  a sum would leave the range of exact numbers
-- COST
--   GET, TIME, HMGET, HDEL, HGET: 5 calls, and 1 for each bucket, O(constraints)
-- @include lib/statuses
-- @include lib/clock
-- @include lib/guard
-- @include lib/decision
-- @include lib/standing

local usage, request, layout, fields = KEYS[2], ARGV[3], ARGV[4], 5
local call = redis.call
local counts = { layout:byte(1, -1) }

local status, now_ms, first_amount, second_amount, position, values = guard(call, KEYS, ARGV, request, counts, fields)
if status then return { status, now_ms } end

-- A verdict is the primary's alone. Removing a field that no counter has changes nothing here, and a replica, which may
-- be behind, refuses it: Redis 6.2 has no flag that says so.
call('HDEL', usage, '')

local satisfied, out_of_range, read, wild =
  decide(call, KEYS, ARGV, request, counts, fields, now_ms, first_amount, second_amount, position, values, {})
if satisfied and out_of_range then
  return redis.error_reply('OUT_OF_RANGE a sum would leave the range of exact numbers')
end
local verdict = GRANTED
if not satisfied then
  verdict = REFUSED
-- @include lib/due
  if holds_are_due(call, usage, now_ms) then return { SWEEP_FIRST, now_ms } end
end
local reply = stand({ verdict, now_ms }, request, counts, position, read, now_ms)
if wild > 0 then reply[#reply + 1] = wild end
return reply
