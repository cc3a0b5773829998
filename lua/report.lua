-- report: count usage on every constraint, whatever its limit; or set the account-level counter, and count what that
-- changed on the entities.
--
-- A negative amount is a correction: a counter stops at 0. A correction, and a number to stand at, that are dated
-- before a counter's period are not applied to it.
--
-- FLAGS  (none)
-- KEYS
--   [1] catalog    string   the catalog token that the customer's partition stands at
--   [2] usage      hash     @v, and the account-level counters
--   [3..] buckets  hash     entity counters, 64 a hash
-- ARGV
--   [1] catalog_token  string   the token of the catalog that the request was prepared from
--   [2] version        string   the customer's configuration token, likewise
--   [3] request        doubles  not after, given now (epoch ms), amounts of the two sections; from, until (epoch ms);
--                               then of each constraint: limit, start (epoch ms), length (ms), section (a byte, 1 or 2)
--   [4] layout         bytes    how many constraints have their counters in usage, and in each bucket
--   [5] behaviour      string   DELTA or SET
--   [6] dated_ms       double   when the usage happened (epoch ms); infinity for now
--   [7..] fields       string   the fields of the counters, in the order of the constraints
-- REPLY
--   {status, server_now_ms, what was applied to each counter (doubles), counter of each constraint, wild starts if any}
--   8 done, 0 stale, 3 moved_on, 5 late, 6 blank, 7 other_clock
-- ERRORS
--   OUT_OF_RANGE  a sum would leave the range of exact numbers; nothing was written
-- COST
--   GET, TIME, HMGET, HSET: 4 calls, and 2 for each bucket, O(constraints)
-- @include lib/statuses
-- @include lib/clock
-- @include lib/guard
-- @include lib/tally

local request, layout, behaviour, dated_ms, fields = ARGV[3], ARGV[4], ARGV[5], struct.unpack('<d', ARGV[6]), 7
local call = redis.call
local counts = { layout:byte(1, -1) }

local status, now_ms, first_amount, second_amount, position, values = guard(call, KEYS, ARGV, request, counts, fields)
if status then return { status, now_ms } end

local reply, amounts = { DONE, now_ms, '' }, { first_amount, second_amount }
local applied, writes, wild = tally(
  call, KEYS, ARGV, request, counts, fields, now_ms, amounts, position, values, behaviour, dated_ms, reply
)
if not applied then return redis.error_reply('OUT_OF_RANGE a sum would leave the range of exact numbers') end

reply[3] = table.concat(applied)
for index = 1, #counts do
  if writes[index][1] then call('HSET', KEYS[index + 1], unpack(writes[index])) end
end
if wild > 0 then reply[#reply + 1] = wild end
return reply
