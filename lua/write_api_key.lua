-- write_api_key: write one API key, if it is still what it was read as. What is written already is done.
--
-- FLAGS  (none)
-- KEYS
--   [1] api_keys  hash     one document a key, by its id
-- ARGV
--   [1] moment    doubles  not after, given now (epoch ms)
--   [2] id        string   which key
--   [3] former    string   its document as it was read; empty where there was none
--   [4] document  string   its document from now on
-- REPLY
--   {status, server_now_ms}
--   8 done, 0 stale, 5 late
-- ERRORS
--   (none)
-- COST
--   TIME, HGET, HSET: 3 calls, O(1)
-- @include lib/statuses
-- @include lib/clock

local api_keys, moment, id, former, document = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local call = redis.call

local not_after_ms, given_now_ms = struct.unpack('<dd', moment)
local now_ms = clock_now_ms(call, given_now_ms)
if now_ms > not_after_ms then return { LATE, now_ms } end
local current = call('HGET', api_keys, id) or ''
if current == document then return { DONE, now_ms } end
if current ~= former then return { STALE, now_ms } end
call('HSET', api_keys, id, document)
return { DONE, now_ms }
