-- settle: end a hold by its record: take back all that is held, and count what was used. Nothing is resolved, no stamp
-- is compared, and it is never refused: whatever was changed, moved or archived since, the record decides.
--
-- What was used counts where the counter still stands in the period of the hold. Of the grants it is taken as they were
-- held; what is beyond that is overdraft, which the next call pays. A hold that was freed already is settled late: all
-- of it is overdraft. The client then lets the live grants pay, before they expire.
--
-- FLAGS  allow-oom
-- KEYS
--   [1] usage          hash  @x, and the account-level counters
--   [2] holds          hash  the customer's records
--   [3] due            zset  open holds by expiry
--   [4] partition_due  zset  the partition's customers by when there is something to sweep
--   [5] ended          zset  ended holds by the instant at which their records go
--   [6..] buckets      hash  entity counters, then grant counters, 64 a hash
-- ARGV
--   [1] moment     doubles  not after, given now (epoch ms)
--   [2] customer   string   the customer's id
--   [3] hold       string   the hold's id
--   [4] outcome    string   2 settled, 3 released
--   [5] amounts    doubles  what was used, of each section
--   [6] layout     bytes    how many constraints have their counters in usage, and in each bucket
--   [7] sections   bytes    the section of each constraint, then that of the wallet (0: none)
--   [8] places     bytes    how many grants have their counters in each bucket
--   [9] overdraft  string   the field of the wallet's overdraft in usage
--   [10] ranks     bytes    the rank of each grant in burn order, by place
--   [11..] fields  string   the fields of the counters: of the constraints in their order, then of the grants by place
-- REPLY
--   {status, server_now_ms, record, whether something of it is overdraft now}
--   8 done, 9 repeated (the same was done before), 10 conflict (another end was), 11 absent, 5 late
-- ERRORS
--   (none)
-- COST
--   TIME, HGET, ZADD, ZREM, ZRANGE, HMGET, HSET, HDEL: 16 calls, and 2 for each bucket, O(constraints + grants)
-- @include lib/statuses
-- @include lib/clock
-- @include lib/amounts
-- @include lib/counters
-- @include lib/holds

local usage, holds, due, partition_due, ended = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local moment, customer, hold, outcome, amounts = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local layout, sections, places, overdraft, ranks, fields = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10], 11
local call = redis.call

local not_after_ms, given_now_ms = struct.unpack('<dd', moment)
local now_ms = clock_now_ms(call, given_now_ms)
if now_ms > not_after_ms then return { LATE, now_ms } end
local known = call('HGET', holds, hold)
if not known then return { ABSENT, now_ms } end
local used_first, used_second = struct.unpack('<dd', amounts)
local state, expires_ms, _, fingerprint, first_held, second_held, first_settled, second_settled, starts, parts,
  reserved_ms, details = unpack(cmsgpack.unpack(known))
if state == SETTLED or state == RELEASED then
  local same = state == outcome and first_settled == used_first and second_settled == used_second
  return { same and REPEATED or CONFLICT, now_ms, known }
end

local is_held, held_amounts, used_amounts = state == OPEN, { first_held, second_held }, { used_first, used_second }
-- A settle is never refused: what no number holds is not counted.
local function sum(a, b)
  local total = add(a, b)
  return total and total <= WHOLE_MAX and total or a
end

local writes, place, field, wallet_used = {}, 0, fields, 0
for index = 1, #layout do
  local count = layout:byte(index)
  local key = index == 1 and usage or KEYS[index + 4]
  writes[key] = writes[key] or {}
  local values = count > 0 and call('HMGET', key, unpack(ARGV, field, field + count - 1))
  for offset = 1, count do
    place = place + 1
    local section, value = sections:byte(place), values[offset]
    if value then
      local start_ms, used, held = without_hold(value, is_held and held_amounts[section] or 0)
      if start_ms == struct.unpack('<d', starts, place * 8 - 7) then used = sum(used, used_amounts[section]) end
      local pairs_of_key = writes[key]
      pairs_of_key[#pairs_of_key + 1] = ARGV[field + offset - 1]
      pairs_of_key[#pairs_of_key + 1] = write_counter(start_ms, used, held)
    end
  end
  field = field + count
end

local section = sections:byte(place + 1)
local owed = section == 0 and 0 or used_amounts[section]
local from_parts = {}
for rank = 1, #parts / 8 do
  local part = struct.unpack('<d', parts, rank * 8 - 7)
  local taken = is_held and (part < owed and part or owed) or 0
  from_parts[rank], owed = taken, sum(owed, -taken)
end
place = 0
for index = 1, #places do
  local count = places:byte(index)
  local key = KEYS[index + 5]
  writes[key] = writes[key] or {}
  local values = count > 0 and call('HMGET', key, unpack(ARGV, field, field + count - 1))
  for offset = 1, count do
    place = place + 1
    local rank, value = ranks:byte(place), values[offset]
    if value then
      local start_ms, used, held = without_hold(value, is_held and struct.unpack('<d', parts, rank * 8 - 7) or 0)
      local pairs_of_key = writes[key]
      pairs_of_key[#pairs_of_key + 1] = ARGV[field + offset - 1]
      pairs_of_key[#pairs_of_key + 1] = write_counter(start_ms, sum(used, from_parts[rank]), held)
    else
      wallet_used = sum(wallet_used, from_parts[rank]) -- its counter was lost: it is owed
    end
  end
  field = field + count
end
owed = sum(owed, wallet_used)

local record = cmsgpack.pack({
  outcome, expires_ms, now_ms, fingerprint, first_held, second_held, used_first, used_second,
  starts, parts, reserved_ms, details,
})
ask_for_rights(call, usage, due, partition_due, ended)
call('HSET', holds, hold, record)
call('ZADD', ended, now_ms + KEPT_MS, hold)
call('ZREM', due, hold)
for key, pairs_of_key in pairs(writes) do
  if pairs_of_key[1] then call('HSET', key, unpack(pairs_of_key)) end
end
if owed > 0 then
  local stored = call('HGET', usage, overdraft)
  call('HSET', usage, overdraft, write_counter(0, sum(stored and struct.unpack('<d', stored, 9) or 0, owed), 0))
end
tell_next_due(call, usage, due, partition_due, ended, customer)
return { DONE, now_ms, record, owed > 0 and 1 or 0 }
