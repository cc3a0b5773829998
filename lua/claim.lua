-- claim: give a name to its first owner; who has it already has it again.
--
-- FLAGS  (none)
-- KEYS
--   [1] catalog  string   the catalog token that the name's partition stands at
--   [2] names    hash     the names of the partition, and whose each is
-- ARGV
--   [1] moment   doubles  not after, given now (epoch ms)
--   [2] name     string   the name, after its kind
--   [3] owner    string   who is to have it
-- REPLY
--   {status, server_now_ms}
--   8 done, 10 conflict, 5 late, 6 blank, 7 other_clock
-- ERRORS
--   (none)
-- COST
--   GET, TIME, HGET, HSET: 4 calls, O(1)
-- @include lib/statuses
-- @include lib/clock

local catalog, names, moment, name, owner = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local call = redis.call

local not_after_ms, given_now_ms = struct.unpack('<dd', moment)
local catalog_token = call('GET', catalog)
local now_ms = clock_now_ms(call, given_now_ms)
if not catalog_token then return { BLANK, now_ms } end
if catalog_token:byte(-1) ~= CLOCK then return { OTHER_CLOCK, now_ms } end
if now_ms > not_after_ms then return { LATE, now_ms } end

local present = call('HGET', names, name)
if present and present ~= owner then return { CONFLICT, now_ms } end
if not present then call('HSET', names, name, owner) end
return { DONE, now_ms }
