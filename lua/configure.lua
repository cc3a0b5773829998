-- configure: write documents of one customer, if the configuration is still the one that they were validated against.
--
-- FLAGS  (none)
-- KEYS
--   [1] catalog  string   the catalog token that the customer's partition stands at
--   [2] usage    hash     @v and @n
--   [3] config   hash     the customer's documents
--   [4] customers  zset   the ids of the partition's customers, each with the score 0
-- ARGV
--   [1] catalog_token  string   the catalog token that the documents were validated against
--   [2] version        string   the customer's token, likewise; empty where there was no customer
--   [3] moment         doubles  not after, given now (epoch ms)
--   [4] new_version    string   8 random bytes that were never used before
--   [5] next_number    string   the number that the next assignment or grant will get
--   [6] channel        string   where the change is told
--   [7] message        msgpack  {kind, customer, token}
--   [8] customer       string   the customer's id
--   [9..] documents    string   field, document, field, document…; an empty document deletes the field
-- REPLY
--   {status, server_now_ms}
--   8 done, 0 stale, 5 late, 6 blank, 7 other_clock
-- ERRORS
--   (none)
-- COST
--   GET, TIME, HGET, PUBLISH, ZADD, HSET, HDEL: 5 calls, 1 for each document, and 1 for a new customer, O(documents)
-- @include lib/statuses
-- @include lib/clock

local catalog, usage, config, customers = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local catalog_token, version, moment, new_version = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local next_number, channel, message, customer, documents = ARGV[5], ARGV[6], ARGV[7], ARGV[8], 9
local call = redis.call

local not_after_ms, given_now_ms = struct.unpack('<dd', moment)
local current = call('GET', catalog)
local now_ms = clock_now_ms(call, given_now_ms)
if not current then return { BLANK, now_ms } end
if current:byte(-1) ~= CLOCK then return { OTHER_CLOCK, now_ms } end
if now_ms > not_after_ms then return { LATE, now_ms } end
if current ~= catalog_token or (call('HGET', usage, '@v') or '') ~= version then return { STALE, now_ms } end

-- What an ACL can refuse comes before the first write: a script is atomic, but it is not rolled back.
call('PUBLISH', channel, message)
if version == '' then call('ZADD', customers, 0, customer) end
call('HSET', usage, '@v', new_version, '@n', next_number)
for index = documents, #ARGV, 2 do
  if ARGV[index + 1] == '' then
    call('HDEL', config, ARGV[index])
  else
    call('HSET', config, ARGV[index], ARGV[index + 1])
  end
end
return { DONE, now_ms }
