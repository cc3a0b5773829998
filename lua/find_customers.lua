-- find_customers: one page of the ids of a partition's customers, in their order or backwards.
--
-- FLAGS  no-writes
-- KEYS
--   [1] catalog    string   the catalog token that the partition stands at
--   [2] customers  zset     the ids of the partition's customers, each with the score 0
-- ARGV
--   [1] moment     doubles  not after, given now (epoch ms)
--   [2] first      string   where the page begins: - at the smallest id, + at the largest, (id beyond that one
--   [3] last       string   + to go on to larger ids, - to smaller ones
--   [4] most       string   how many at most
-- REPLY
--   {status, server_now_ms, id, id…}
--   8 done, 6 blank, 7 other_clock
-- ERRORS
--   (none)
-- COST
--   GET, TIME, ZRANGE: 3 calls, O(most)
-- @include lib/statuses
-- @include lib/clock

local catalog, customers, moment, first, last, most = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local call = redis.call

local _, given_now_ms = struct.unpack('<dd', moment)
local catalog_token = call('GET', catalog)
local now_ms = clock_now_ms(call, given_now_ms)
if not catalog_token then return { BLANK, now_ms } end
if catalog_token:byte(-1) ~= CLOCK then return { OTHER_CLOCK, now_ms } end

local ids
if last == '-' then
  ids = call('ZRANGE', customers, first, last, 'BYLEX', 'REV', 'LIMIT', 0, most)
else
  ids = call('ZRANGE', customers, first, last, 'BYLEX', 'LIMIT', 0, most)
end
return { DONE, now_ms, unpack(ids) }
