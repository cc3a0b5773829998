-- find_seen: what was carried out under an idempotency key.
--
-- FLAGS  no-writes
-- KEYS
--   [1] seen         hash  idempotency keys of the present generation, and what was carried out under each
--   [2] seen_before  hash  those of the generation before
--   [3] seen_after   hash  those of the generation after: there are some where the clock has stepped back
-- ARGV
--   [1] moment      doubles  not after, given now (epoch ms)
--   [2] identity    string   12 bytes of a hash of the idempotency key
--   [3] generation  doubles  the number of the generation that the client took, how long one is (ms)
-- REPLY
--   {status, server_now_ms, fingerprint or empty}
--   8 done, 12 other_generation
-- ERRORS
--   (none)
-- COST
--   TIME, HGET: 4 calls
-- @include lib/statuses
-- @include lib/clock

local seen, seen_before, seen_after = KEYS[1], KEYS[2], KEYS[3]
local moment, identity, generation = ARGV[1], ARGV[2], ARGV[3]
local call = redis.call

local _, given_now_ms = struct.unpack('<dd', moment)
local number, lasts_ms = struct.unpack('<dd', generation)
local now_ms = clock_now_ms(call, given_now_ms)
if math.floor(now_ms / lasts_ms) ~= number then return { OTHER_GENERATION, now_ms } end
local known = call('HGET', seen, identity) or call('HGET', seen_before, identity) or call('HGET', seen_after, identity)
return { DONE, now_ms, known or '' }
