-- read_catalog: every document of the catalog, its token, and the server's time, in one step.
--
-- It asks nothing of the environment's clock, so that a catalog can be read whatever the client was told.
--
-- FLAGS  no-writes
-- KEYS
--   [1] catalog  hash     one document a field; its token in @token
-- ARGV
--   [1] moment   doubles  not after, given now (epoch ms)
-- REPLY
--   {status, server_now_ms, field, document, field, document…}
--   8 done
-- ERRORS
--   (none)
-- COST
--   TIME, HGETALL: 2 calls, O(documents)
-- @include lib/statuses
-- @include lib/clock

local catalog, moment = KEYS[1], ARGV[1]
local call = redis.call

local _, given_now_ms = struct.unpack('<dd', moment)
local documents = call('HGETALL', catalog)
local reply = { DONE, clock_now_ms(call, given_now_ms) }
for index = 1, #documents do reply[index + 2] = documents[index] end
return reply
