-- free: end holds whose expiry has passed, and take back what they held. A hold that was ended meanwhile, or extended,
-- is left alone: the record decides, so none is freed twice.
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
--   [1] moment    doubles  not after, given now (epoch ms)
--   [2] customer  string   the customer's id
--   [3] freed     msgpack  of holds in the same counters: {places of the constraints', sections, places of the
--                          grants', id, id…}; 256 ids at most
--   [4] layout    bytes    how many of the fields are in usage, and in each bucket
--   [5..] fields  string   the fields of all counters, each once; their places count from 1
-- REPLY
--   {status, server_now_ms, how many were freed, records that went for good}
--   8 done, 5 late
-- ERRORS
--   (none)
-- COST
--   TIME, HMGET, HSET, HDEL, ZADD, ZREM, ZRANGE, ZRANGEBYSCORE: 18 calls, and 2 for each bucket, O(holds · log holds)
-- @include lib/statuses
-- @include lib/clock
-- @include lib/amounts
-- @include lib/counters
-- @include lib/holds

local usage, holds, due, partition_due, ended = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local moment, customer, freed, layout, fields = ARGV[1], ARGV[2], ARGV[3], ARGV[4], 5
local call = redis.call
local RECORDS_MAX = 256

local not_after_ms, given_now_ms = struct.unpack('<dd', moment)
local now_ms = clock_now_ms(call, given_now_ms)
if now_ms > not_after_ms then return { LATE, now_ms } end

local ids, groups, shapes = {}, {}, cmsgpack.unpack(freed)
for _, group in ipairs(shapes) do
  group.amounts, group.parts = { 0, 0 }, {}
  for index = 4, #group do
    ids[#ids + 1], groups[#ids + 1] = group[index], group
  end
end
local known = ids[1] and call('HMGET', holds, unpack(ids))
local gone = call('ZRANGEBYSCORE', ended, '-inf', now_ms, 'LIMIT', 0, RECORDS_MAX)

-- What is held is summed up for each group; what no number holds is not taken back.
local count, written, ends, closed, later = 0, {}, {}, {}, {}
for index, id in ipairs(ids) do
  local packed = known[index]
  local record = packed and cmsgpack.unpack(packed)
  if record and record[1] == OPEN and record[2] > now_ms then
    later[#later + 1], later[#later + 2] = record[2], id
  else
    closed[#closed + 1] = id
    if record and record[1] == OPEN then
      local group = groups[index]
      local amounts, parts, ranks = group.amounts, group.parts, #group[3]
      for section = 1, 2 do amounts[section] = add(amounts[section], record[4 + section]) or amounts[section] end
      for rank = 1, ranks do
        local part = struct.unpack('<d', record[10], rank * 8 - 7)
        parts[rank] = add(parts[rank] or 0, part) or parts[rank]
      end
      count = count + 1
      written[count * 2 - 1], written[count * 2] = id, expired(packed)
      ends[count * 2 - 1], ends[count * 2] = now_ms + KEPT_MS, id
    end
  end
end

local taken = {}
for _, group in ipairs(shapes) do
  local amounts, parts, sections, of_grants = group.amounts, group.parts, group[2], group[3]
  for at, place in ipairs(group[1]) do
    local amount = amounts[sections[at]]
    taken[place] = add(taken[place] or 0, amount) or taken[place]
  end
  for rank, place in ipairs(of_grants) do
    taken[place] = add(taken[place] or 0, parts[rank] or 0) or taken[place]
  end
end

local writes, place, field = {}, 0, fields
for index = 1, #layout do
  local size = layout:byte(index)
  local key = index == 1 and usage or KEYS[index + 4]
  local values = size > 0 and call('HMGET', key, unpack(ARGV, field, field + size - 1))
  local changed = {}
  for offset = 1, size do
    place = place + 1
    if values[offset] and taken[place] > 0 then
      changed[#changed + 1] = ARGV[field + offset - 1]
      changed[#changed + 1] = write_counter(without_hold(values[offset], taken[place]))
    end
  end
  writes[key] = changed
  field = field + size
end

ask_for_rights(call, usage, due, partition_due, ended)
if count > 0 then
  call('HSET', holds, unpack(written))
  call('ZADD', ended, unpack(ends))
end
if closed[1] then call('ZREM', due, unpack(closed)) end
if later[1] then call('ZADD', due, unpack(later)) end
for key, changed in pairs(writes) do
  if changed[1] then call('HSET', key, unpack(changed)) end
end
if gone[1] then
  call('HDEL', holds, unpack(gone))
  call('ZREM', ended, unpack(gone))
end
tell_next_due(call, usage, due, partition_due, ended, customer)
return { DONE, now_ms, count, #gone }
