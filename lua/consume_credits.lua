-- consume_credits: count each section's amount on all of its constraints, and take it from the wallet, if all of them
-- have it; else count nothing.
--
-- FLAGS  (none)
-- KEYS
--   [1] catalog      string  the catalog token that the customer's partition stands at
--   [2] usage        hash    @v, @x, and the account-level counters
--   [3] seen         hash    idempotency keys of the present generation, and what was carried out under each
--   [4] seen_before  hash    those of the generation before
--   [5] seen_after   hash    those of the generation after: there are some where the clock has stepped back
--   [6..] buckets    hash    entity counters, then grant counters, 64 a hash
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
--   [9] identity       string   12 bytes of a hash of the idempotency key; empty where there is none
--   [10] fingerprint   string   8 bytes of a hash of what is asked
--   [11] generation    doubles  the number of the generation that the client took, how long one is (ms)
--   [12..] fields      string   the fields of the counters: of the constraints in their order, then of the grants
-- REPLY
--   {status, server_now_ms, counter of each constraint, what was taken of overdraft and of each grant (doubles),
--   counter of the overdraft and of each grant, wild starts if any}
--   9 repeated (granted before; as they stand now), 10 conflict (another request has the key), 12 other_generation,
--   1 granted (as they stand after), 2 refused (as they stand), 0 stale, 3 moved_on,
--   4 sweep_first, 5 late, 6 blank, 7 other_clock
-- ERRORS
--   OUT_OF_RANGE  a sum would leave the range of exact numbers; nothing was written
-- COST
--   GET, TIME, HMGET, HGET, HSET, HLEN, PEXPIREAT: 13 calls, and 2 for each bucket, O(constraints + grants)
-- @include lib/statuses
-- @include lib/clock
-- @include lib/guard
-- @include lib/seen
-- @include lib/spending
-- @include lib/decision
-- @include lib/count

local catalog, usage, seen, seen_before, seen_after = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local request, layout, grants, places = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local overdraft, burn_order, identity = ARGV[7], ARGV[8], ARGV[9]
local fingerprint, generation, fields = ARGV[10], ARGV[11], 12
local call = redis.call
local counts = { layout:byte(1, -1) }
local keys = { catalog, usage, unpack(KEYS, 6) } -- as the other scripts have them

local known, over_ms
if identity ~= '' then
  local _, given_now_ms = struct.unpack('<dd', request)
  local number, lasts_ms = struct.unpack('<dd', generation)
  local instant_ms = clock_now_ms(call, given_now_ms)
  if math.floor(instant_ms / lasts_ms) ~= number then return { OTHER_GENERATION, instant_ms } end
  known = remembered(call, seen, seen_before, seen_after, identity)
  over_ms = (number + 2) * lasts_ms
  if known and known ~= fingerprint then return { CONFLICT, instant_ms } end
end
local status, now_ms, first_amount, second_amount, position, values = guard(call, keys, ARGV, request, counts, fields)
if status then return { status, now_ms } end

local reply = { GRANTED, now_ms }
local satisfied, out_of_range, read, wild =
  decide(call, keys, ARGV, request, counts, fields, now_ms, first_amount, second_amount, position, values, reply)
local of_grants = fields + #reply - 2
local wallet = read_wallet(call, keys, ARGV, grants, places, overdraft, of_grants)
local amount = wallet.section == 1 and first_amount or wallet.section == 2 and second_amount or 0
-- @include lib/standing
if wallet.balance and known then
  return tell_wallet(stand({ REPEATED, now_ms }, request, counts, position, read, now_ms), wallet)
end
if wallet.balance and not (satisfied and has(wallet, amount)) then
-- @include lib/due
  if holds_are_due(call, usage, now_ms) then return { SWEEP_FIRST, now_ms } end
  return tell_wallet(stand({ REFUSED, now_ms }, request, counts, position, read, now_ms), wallet)
end
if out_of_range or not spend(wallet, burn_order, amount) then
  return redis.error_reply('OUT_OF_RANGE a sum would leave the range of exact numbers')
end

if identity ~= '' then remember(call, seen, identity, fingerprint, over_ms) end
count_all(call, keys, ARGV, counts, fields, reply)
write_wallet(call, keys, ARGV, wallet, places, overdraft, of_grants)
tell_wallet(reply, wallet)
if wild > 0 then reply[#reply + 1] = wild end
return reply
