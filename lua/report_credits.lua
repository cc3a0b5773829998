-- report_credits: count usage on every constraint and take it from the wallet, whatever they have. What is below 0 is
-- given back: to overdraft first, then to the grants, as far as it had been taken from them.
--
-- FLAGS  (none)
-- KEYS
--   [1] catalog      string  the catalog token that the customer's partition stands at
--   [2] usage        hash    @v, and the account-level counters
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
--   [12] behaviour     string   DELTA or SET; DELTA where there is a wallet
--   [13] dated_ms      double   when the usage happened (epoch ms); infinity for now
--   [14..] fields      string   the fields of the counters: of the constraints in their order, then of the grants
-- REPLY
--   {status, server_now_ms, what was applied to each counter (doubles), counter of each constraint, what was taken of
--   overdraft and of each grant (doubles), counter of the overdraft and of each grant, wild starts if any}
--   8 done, 9 repeated (as they stand), 10 conflict (another request has the key), 12 other_generation, 0 stale,
--   3 moved_on, 5 late, 6 blank, 7 other_clock
-- ERRORS
--   OUT_OF_RANGE  a sum would leave the range of exact numbers; nothing was written
-- COST
--   GET, TIME, HMGET, HGET, HSET, HLEN, PEXPIREAT: 13 calls, and 2 for each bucket, O(constraints + grants)
-- @include lib/statuses
-- @include lib/clock
-- @include lib/guard
-- @include lib/seen
-- @include lib/spending
-- @include lib/tally

local catalog, usage, seen, seen_before, seen_after = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local request, layout, grants, places, overdraft = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local burn_order, identity, fingerprint, generation = ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local behaviour, dated_ms, fields = ARGV[12], struct.unpack('<d', ARGV[13]), 14
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

local reply, amounts = { DONE, now_ms, '' }, { first_amount, second_amount }
if known then reply[1], amounts, behaviour = REPEATED, { 0, 0 }, 'DELTA' end
local applied, writes, wild = tally(
  call, keys, ARGV, request, counts, fields, now_ms, amounts, position, values, behaviour, dated_ms, reply
)
local of_grants = fields + #reply - 3
local wallet = read_wallet(call, keys, ARGV, grants, places, overdraft, of_grants)
if not applied or not known and not spend(wallet, burn_order, amounts[wallet.section] or 0, dated_ms) then
  return redis.error_reply('OUT_OF_RANGE a sum would leave the range of exact numbers')
end

reply[3] = table.concat(applied)
if known then return tell_wallet(reply, wallet) end
if identity ~= '' then remember(call, seen, identity, fingerprint, over_ms) end
for index = 1, #counts do
  if writes[index][1] then call('HSET', keys[index + 1], unpack(writes[index])) end
end
write_wallet(call, keys, ARGV, wallet, places, overdraft, of_grants)
tell_wallet(reply, wallet)
if wild > 0 then reply[#reply + 1] = wild end
return reply
