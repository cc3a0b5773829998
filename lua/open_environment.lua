-- open_environment: what an environment is; it is created first, where that is asked for and there is none.
--
-- FLAGS  allow-oom
-- KEYS
--   [1] meta  hash   partitions, schema, clock; spread once every partition has had a catalog token
-- ARGV
--   [1] create      string   1 to create what is not there, else 0
--   [2] partitions  string   how many partitions a new environment has
--   [3] schema      string   the version of the layout that this client writes
--   [4] clock       string   server or simulated
-- REPLY
--   {status, server_now_ms, partitions, schema, clock, spread or 0}
--   8 done, 6 blank
-- ERRORS
--   (none)
-- COST
--   TIME, HMGET, HSET: 2 or 3 calls
-- @include lib/statuses

local meta, create, partitions, schema, clock = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local call = redis.call

local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local known = call('HMGET', meta, 'partitions', 'schema', 'clock', 'spread')
if known[1] then return { DONE, now_ms, known[1], known[2], known[3], known[4] or '0' } end
if create ~= '1' then return { BLANK, now_ms } end
call('HSET', meta, 'partitions', partitions, 'schema', schema, 'clock', clock)
return { DONE, now_ms, partitions, schema, clock, '0' }
