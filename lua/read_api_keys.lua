-- read_api_keys: every API key of an environment, and the server's time, in one step.
--
-- FLAGS  no-writes
-- KEYS
--   [1] api_keys  hash     one document a key, by its id
-- ARGV
--   [1] moment    doubles  not after, given now (epoch ms)
-- REPLY
--   {status, server_now_ms, id, document, id, document…}
--   8 done
-- ERRORS
--   (none)
-- COST
--   TIME, HGETALL: 2 calls, O(keys)
-- @include lib/statuses
-- @include lib/clock

local api_keys, moment = KEYS[1], ARGV[1]
local call = redis.call

local _, given_now_ms = struct.unpack('<dd', moment)
local documents = call('HGETALL', api_keys)
local reply = { DONE, clock_now_ms(call, given_now_ms) }
for index = 1, #documents do reply[index + 2] = documents[index] end
return reply
