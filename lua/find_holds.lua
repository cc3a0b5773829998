-- find_holds: one page of all records of a customer's holds. A record may come twice, as one that is written meanwhile
-- may or may not come at all.
--
-- FLAGS  no-writes
-- KEYS
--   [1] holds  hash  the customer's records
-- ARGV
--   [1] moment  doubles  not after, given now (epoch ms)
--   [2] cursor  string   0 for the first page, then what the last reply said
--   [3] count   string   about how many records a page
-- REPLY
--   {status, server_now_ms, cursor, id, record, id, record…}
--   8 done
-- ERRORS
--   (none)
-- COST
--   TIME, HSCAN: 2 calls, O(count)
-- @include lib/statuses
-- @include lib/clock

local holds, moment, cursor, count = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local call = redis.call

local _, given_now_ms = struct.unpack('<dd', moment)
local now_ms = clock_now_ms(call, given_now_ms)
local page = call('HSCAN', holds, cursor, 'COUNT', count)
local reply = { DONE, now_ms, page[1] }
for index = 1, #page[2] do reply[index + 3] = page[2][index] end
return reply
