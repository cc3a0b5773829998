-- find_waiting: the customers of a partition that have something to sweep (holds that are due, records that go), the
-- earliest first.
--
-- FLAGS  no-writes
-- KEYS
--   [1] partition_due  zset  the partition's customers by when there is something to sweep
-- ARGV
--   [1] moment  doubles  not after, given now (epoch ms)
--   [2] most    string   how many at most
-- REPLY
--   {status, server_now_ms, customer, customer…}
--   8 done
-- ERRORS
--   (none)
-- COST
--   TIME, ZRANGEBYSCORE: 2 calls, O(customers)
-- @include lib/statuses
-- @include lib/clock

local partition_due, moment, most = KEYS[1], ARGV[1], ARGV[2]
local call = redis.call

local _, given_now_ms = struct.unpack('<dd', moment)
local now_ms = clock_now_ms(call, given_now_ms)
return { DONE, now_ms, unpack(call('ZRANGEBYSCORE', partition_due, '-inf', now_ms, 'LIMIT', 0, most)) }
