-- check_credits: would each section's amount fit all of its constraints, and the wallet, now? Nothing is written.
--
-- FLAGS  allow-oom
-- KEYS
--   [1] catalog    string   the catalog token that the customer's partition stands at
--   [2] usage      hash     @v, @x, and the account-level counters
--   [3..] buckets  hash     entity counters, then grant counters, 64 a hash
-- ARGV
--   [1] catalog_token  string   the token of the catalog that the request was prepared from
--   [2] version        string   the customer's configuration token, likewise
--   [3] request        doubles  not after, given now (epoch ms), amounts of the two sections; from, until (epoch ms);
--                               then of each constraint: limit, start (epoch ms), length (ms), section (a byte, 1 or 2)
--   [4] layout         bytes    how many constraints have their counters in usage, and in each bucket
--   [5] grants         doubles  section of the wallet, whether it is soft (a byte each); then of each grant: amount,
--                               effective instant (epoch ms)
--   [6] places         bytes    how many grants have their counters in each bucket
--   [7] overdraft      string   the field of the wallet's overdraft in usage
--   [8..] fields       string   the fields of the counters: of the constraints in their order, then of the grants
-- REPLY
--   {status, server_now_ms, counter of each constraint, what was taken of overdraft and of each grant (doubles),
--   counter of the overdraft and of each grant, wild starts if any}
--   1 granted, 2 refused, 0 stale, 3 moved_on, 4 sweep_first, 5 late, 6 blank, 7 other_clock
-- ERRORS
--   OUT_OF_RANGE  a sum would leave the range of exact numbers
-- COST
--   GET, TIME, HMGET, HGET, HDEL: 5 calls, and 1 for each bucket, O(constraints + grants)
-- @include lib/statuses
-- @include lib/clock
-- @include lib/guard
-- @include lib/wallet
-- @include lib/decision
-- @include lib/standing

local request, layout, grants, places, overdraft, fields = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], 8
local call = redis.call
local counts = { layout:byte(1, -1) }

local status, now_ms, first_amount, second_amount, position, values = guard(call, KEYS, ARGV, request, counts, fields)
if status then return { status, now_ms } end

call('HDEL', KEYS[2], '') -- a replica refuses it, as in check

local satisfied, out_of_range, read, wild =
  decide(call, KEYS, ARGV, request, counts, fields, now_ms, first_amount, second_amount, position, values, {})
local constraints = 0
for index = 1, #counts do constraints = constraints + counts[index] end
local wallet = read_wallet(call, KEYS, ARGV, grants, places, overdraft, fields + constraints)
local is_granted = satisfied and wallet.balance and has(wallet, wallet.section == 1 and first_amount or second_amount)
if (is_granted and out_of_range) or not wallet.balance then
  return redis.error_reply('OUT_OF_RANGE a sum would leave the range of exact numbers')
end

local verdict = GRANTED
if not is_granted then
  verdict = REFUSED
-- @include lib/due
  if holds_are_due(call, KEYS[2], now_ms) then return { SWEEP_FIRST, now_ms } end
end
local reply = tell_wallet(stand({ verdict, now_ms }, request, counts, position, read, now_ms), wallet)
if wild > 0 then reply[#reply + 1] = wild end
return reply
