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
--   TIME, ZRANGEBYSCORE, HGET: 2 calls, and 1 for each hold, O(holds)
-- @include lib/statuses
-- @include lib/clock

local holds, due, moment, hold, most = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local call = redis.call

local _, given_now_ms = struct.unpack('<dd', moment)
local now_ms = clock_now_ms(call, given_now_ms)
local ids = { hold }
if hold == '' then ids = call('ZRANGEBYSCORE', due, '-inf', now_ms, 'LIMIT', 0, most) end
local reply = { DONE, now_ms }
for _, id in ipairs(ids) do
  reply[#reply + 1], reply[#reply + 2] = id, call('HGET', holds, id) or ''
end
return reply
