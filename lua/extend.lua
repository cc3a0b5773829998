-- extend: let an open hold last longer, or shorter, counted from now.
--
-- FLAGS  allow-oom
-- KEYS
--   [1] usage          hash  @x
--   [2] holds          hash  the customer's records
--   [3] due            zset  open holds by expiry
--   [4] partition_due  zset  the partition's customers by when there is something to sweep
--   [5] ended          zset  ended holds by the instant at which their records go
-- ARGV
--   [1] moment    doubles  not after, given now (epoch ms)
--   [2] customer  string   the customer's id
--   [3] hold      string   the hold's id
--   [4] lasts_ms  double   how long it stays open from now on
-- REPLY
--   {status, server_now_ms, record}
--   8 done, 10 conflict (it has ended), 11 absent, 5 late
-- ERRORS
--   (none)
-- COST
--   TIME, HGET, ZADD, HSET, ZRANGE, HDEL, ZREM: 12 calls, O(log holds)
-- @include lib/statuses
-- @include lib/clock
-- @include lib/amounts
-- @include lib/holds

local usage, holds, due, partition_due, ended = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local moment, customer, hold, lasts_ms = ARGV[1], ARGV[2], ARGV[3], struct.unpack('<d', ARGV[4])
local call = redis.call

local not_after_ms, given_now_ms = struct.unpack('<dd', moment)
local now_ms = clock_now_ms(call, given_now_ms)
if now_ms > not_after_ms then return { LATE, now_ms } end
local known = call('HGET', holds, hold)
if not known then return { ABSENT, now_ms } end
local record = cmsgpack.unpack(known)
if record[1] ~= OPEN or record[2] <= now_ms then return { CONFLICT, now_ms, known } end

record[2] = now_ms + lasts_ms
local packed = cmsgpack.pack(record)
ask_for_rights(call, usage, due, partition_due, ended)
call('HSET', holds, hold, packed)
call('ZADD', due, record[2], hold)
tell_next_due(call, usage, due, partition_due, ended, customer)
return { DONE, now_ms, packed }
