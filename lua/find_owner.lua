-- find_owner: whose a name is.
--
-- FLAGS  no-writes
-- KEYS
--   [1] catalog  string   the catalog token that the name's partition stands at
--   [2] names    hash     the names of the partition, and whose each is
-- ARGV
--   [1] moment   doubles  not after, given now (epoch ms)
--   [2] name     string   the name, after its kind
-- REPLY
--   {status, server_now_ms, owner}
--   8 done, 11 absent, 6 blank, 7 other_clock
-- ERRORS
--   (none)
-- COST
--   GET, TIME, HGET: 3 calls, O(1)
-- @include lib/statuses
-- @include lib/clock

local catalog, names, moment, name = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local call = redis.call

local _, given_now_ms = struct.unpack('<dd', moment)
local catalog_token = call('GET', catalog)
local now_ms = clock_now_ms(call, given_now_ms)
if not catalog_token then return { BLANK, now_ms } end
if catalog_token:byte(-1) ~= CLOCK then return { OTHER_CLOCK, now_ms } end

local owner = call('HGET', names, name)
if not owner then return { ABSENT, now_ms } end
return { DONE, now_ms, owner }
