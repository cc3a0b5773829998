-- scan: one page of all documents of a customer, with the tokens that they stand under.
--
-- FLAGS  no-writes
-- KEYS
--   [1] catalog  string   the catalog token that the customer's partition stands at
--   [2] usage    hash     @v
--   [3] config   hash     the customer's documents
-- ARGV
--   [1] moment   doubles  not after, given now (epoch ms)
--   [2] cursor   string   0 for the first page, then what the last reply said
--   [3] count    string   about how many documents a page
-- REPLY
--   {status, server_now_ms, catalog token, version or empty, cursor, field, document, field, document…}
--   8 done, 6 blank, 7 other_clock
-- ERRORS
--   (none)
-- COST
--   GET, TIME, HGET, HSCAN: 4 calls, O(count)
-- @include lib/statuses
-- @include lib/clock

local catalog, usage, config, moment, cursor, count = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3]
local call = redis.call

local _, given_now_ms = struct.unpack('<dd', moment)
local catalog_token = call('GET', catalog)
local now_ms = clock_now_ms(call, given_now_ms)
if not catalog_token then return { BLANK, now_ms } end
if catalog_token:byte(-1) ~= CLOCK then return { OTHER_CLOCK, now_ms } end

local page = call('HSCAN', config, cursor, 'COUNT', count)
local reply = { DONE, now_ms, catalog_token, call('HGET', usage, '@v') or '', page[1] }
for index = 1, #page[2] do reply[index + 5] = page[2][index] end
return reply
