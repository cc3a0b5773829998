-- mark_spread: note that every partition has had a catalog token. From then on, one without is lost data, not news.
--
-- FLAGS  (none)
-- KEYS
--   [1] meta  hash   partitions, schema, clock; spread once every partition has had a catalog token
-- ARGV
--   [1] spread  string   1, or 0 to let blank partitions be written again after a loss that was accepted
-- REPLY
--   {status}
--   8 done, 6 blank
-- ERRORS
--   (none)
-- COST
--   EXISTS, HSET: 2 calls
-- @include lib/statuses

local meta, spread = KEYS[1], ARGV[1]
local call = redis.call

if call('EXISTS', meta) == 0 then return { BLANK } end
call('HSET', meta, 'spread', spread)
return { DONE }
