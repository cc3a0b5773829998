-- consume: count each section's amount on all of its constraints, if all of them are satisfied; else count nothing.
--
-- FLAGS  (none)
-- KEYS
--   [1] catalog    string   the catalog token that the customer's partition stands at
--   [2] usage      hash     @v, and the account-level counters
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
--   1 granted (counters after), 2 refused (counters as they stand), 0 stale, 3 moved_on, 5 late, 6 blank, 7 other_clock
-- ERRORS
--   OUT_OF_RANGE  a sum would leave the range of exact numbers; nothing was written
-- COST
--   GET, TIME, HMGET, HSET: 4 calls, and 2 for each bucket, O(constraints)
-- @include lib/statuses
-- @include lib/amounts
-- @include lib/clock
-- @include lib/counters
-- @include lib/guard
-- @include lib/decision

local request, layout, fields = ARGV[3], ARGV[4], 5
local call = redis.call

local status, now_ms, amounts, position, values = guard(call, KEYS, ARGV, request, layout, fields)
if status then return { status, now_ms } end

local reply, writes = { GRANTED, now_ms }, {}
local satisfied, out_of_range, read, wild =
  decide(call, KEYS, ARGV, request, layout, fields, now_ms, amounts, position, values, reply, writes)
if not satisfied then return stand({ REFUSED, now_ms }, KEYS, request, layout, position, read, now_ms) end
if out_of_range then return redis.error_reply('OUT_OF_RANGE a sum would leave the range of exact numbers') end

for key = 2, #KEYS do
  if writes[key][1] then call('HSET', KEYS[key], unpack(writes[key])) end
end
if wild > 0 then reply[#reply + 1] = wild end
return reply
