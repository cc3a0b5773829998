-- reserve: hold each section's amount on all of its constraints and in the wallet, if all of them have it; else hold
-- nothing. An id that is there already is the same hold.
--
-- FLAGS  (none)
-- KEYS
--   [1] catalog        string   the catalog token that the customer's partition stands at
--   [2] usage          hash     @v, @x, and the account-level counters
--   [3] holds          hash     the customer's records
--   [4] due            zset     open holds by expiry
--   [5] partition_due  zset     the partition's customers by when there is something to sweep
--   [6..] buckets      hash     entity counters, then grant counters, 64 a hash
-- ARGV
--   [1] catalog_token  string   the token of the catalog that the request was prepared from
--   [2] version        string   the customer's configuration token, likewise
--   [3] request        doubles  not after, given now (epoch ms), amounts of the two sections; from, until (epoch ms);
--                               then of each constraint: limit, start (epoch ms), length (ms), section (a byte, 1 or 2)
--   [4] layout         bytes    how many constraints have their counters in usage, and in each bucket
--   [5] grants         doubles  section of the wallet (0: none), whether it is soft (a byte each); then of each grant:
--                               amount, effective instant (epoch ms)
--   [6] places         bytes    how many grants have their counters in each bucket
--   [7] overdraft      string   the field of the wallet's overdraft in usage
--   [8] burn_order     bytes    which grant is burnt first, which next: their places, from 1
--   [9] customer       string   the customer's id
--   [10] hold          string   the id that the client made
--   [11] fingerprint   string   8 bytes of a hash of what is asked
--   [12] span          doubles  how long the hold stays open at most (ms), and until when (epoch ms, or infinity)
--   [13] details       msgpack  which counters and grants, in the order of the fields; the rest is the client's
--   [14..] fields      string   the fields of the counters: of the constraints in their order, then of the grants
-- REPLY
--   {status, server_now_ms, counter of each constraint, what was taken of overdraft and of each grant (doubles),
--   counter of the overdraft and of each grant, wild starts if any}
--   1 granted (as they stand after), 2 refused (as they stand), 0 stale, 3 moved_on, 4 sweep_first, 5 late, 6 blank,
--   7 other_clock
--   {status, server_now_ms, record} where the id is known:
--   9 repeated, 10 conflict
-- ERRORS
--   OUT_OF_RANGE  a sum would leave the range of exact numbers; nothing was written
-- COST
--   GET, TIME, HMGET, HGET, ZADD, HSET: 9 calls, and 2 for each bucket, O(constraints + grants)
-- @include lib/statuses
-- @include lib/clock
-- @include lib/guard
-- @include lib/spending
-- @include lib/decision
-- @include lib/standing
-- @include lib/due
-- @include lib/count

local catalog, usage, holds, due, partition_due = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local request, layout, grants, places = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local overdraft, burn_order, customer, hold = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local fingerprint, span, details, fields = ARGV[11], ARGV[12], ARGV[13], 14
local call = redis.call
local OPEN = 1
local counts = { layout:byte(1, -1) }
local keys = { catalog, usage, unpack(KEYS, 6) } -- as the other scripts have them

local known = call('HGET', holds, hold)
if known then
  local _, given_now_ms = struct.unpack('<dd', request)
  local same = cmsgpack.unpack(known)[4] == fingerprint
  return { same and REPEATED or CONFLICT, clock_now_ms(call, given_now_ms), known }
end

local status, now_ms, first_amount, second_amount, position, values = guard(call, keys, ARGV, request, counts, fields)
if status then return { status, now_ms } end

local amounts, reply = { first_amount, second_amount }, { GRANTED, now_ms }
local satisfied, out_of_range, read, wild =
  decide(call, keys, ARGV, request, counts, fields, now_ms, first_amount, second_amount, position, values, reply)
local of_grants = fields + #reply - 2
local wallet = read_wallet(call, keys, ARGV, grants, places, overdraft, of_grants)
local amount = amounts[wallet.section] or 0
if wallet.balance and not (satisfied and (wallet.section == 0 or has(wallet, amount))) then
  if holds_are_due(call, usage, now_ms) then return { SWEEP_FIRST, now_ms } end
  return tell_wallet(stand({ REFUSED, now_ms }, request, counts, position, read, now_ms), wallet)
end
if out_of_range or not spend(wallet, burn_order, 0) then
  return redis.error_reply('OUT_OF_RANGE a sum would leave the range of exact numbers')
end

local parts, in_range = hold_credits(wallet, burn_order, amount)
if not in_range then return redis.error_reply('OUT_OF_RANGE a sum would leave the range of exact numbers') end
for rank = 1, #parts do parts[rank] = struct.pack('<d', parts[rank]) end
local starts, element, skip = {}, 3, 1
for index = 1, #counts do
  for place = skip + 1, skip + counts[index] do
    local start_ms, length_ms, section, _
    _, start_ms, length_ms, section, position = struct.unpack('<dddB', request, position)
    local start, used, held = read_counter(read[index][place], start_ms, length_ms, now_ms)
    held = add(held, amounts[section])
    if not held then return redis.error_reply('OUT_OF_RANGE a sum would leave the range of exact numbers') end
    reply[element], starts[#starts + 1] = write_counter(start, used, held), struct.pack('<d', start)
    element = element + 1
  end
  skip = 0
end

local lasts_ms, until_ms = struct.unpack('<dd', span)
local expires_ms = math.min(now_ms + lasts_ms, until_ms)
call('ZADD', due, expires_ms, hold)
local earliest = call('HGET', usage, '@x')
if not earliest or expires_ms < struct.unpack('<d', earliest) then
  call('ZADD', partition_due, 'LT', expires_ms, customer)
  call('HSET', usage, '@x', struct.pack('<d', expires_ms))
end
call('HSET', holds, hold, cmsgpack.pack({
  OPEN, expires_ms, 0, fingerprint, first_amount, second_amount, 0, 0,
  table.concat(starts), table.concat(parts), now_ms, details,
}))
count_all(call, keys, ARGV, counts, fields, reply)
write_wallet(call, keys, ARGV, wallet, places, overdraft, of_grants)
tell_wallet(reply, wallet)
if wild > 0 then reply[#reply + 1] = wild end
return reply
