-- find_due: the records of holds that are due, the earliest first; or of one hold.
--
-- FLAGS  no-writes
-- KEYS
--   [1] holds  hash  the customer's records
--   [2] due    zset  open holds by expiry
-- ARGV
--   [1] moment  doubles  not after, given now (epoch ms)
--   [2] hold    string   an id, or empty for those that are due
--   [3] most    string   how many at most
-- REPLY
--   {status, server_now_ms, id, record or empty, id, record or empty…}
--   8 done
-- ERRORS
--   (none)
-- COST
--   TIME, ZRANGEBYSCORE, HMGET: 3 calls, O(holds)
-- @include lib/statuses
-- @include lib/clock

local holds, due, moment, hold, most = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local call = redis.call

local _, given_now_ms = struct.unpack('<dd', moment)
local now_ms = clock_now_ms(call, given_now_ms)
local ids = { hold }
if hold == '' then ids = call('ZRANGEBYSCORE', due, '-inf', now_ms, 'LIMIT', 0, most) end
local records = ids[1] and call('HMGET', holds, unpack(ids))
local reply = { DONE, now_ms }
for index, id in ipairs(ids) do
  reply[index * 2 + 1], reply[index * 2 + 2] = id, records[index] or ''
end
return reply
