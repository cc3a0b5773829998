-- write_catalog: write documents of the catalog under a new token, if it is still the catalog they were made from.
--
-- The new token is max(last + 1, least, server ms) in front, which only puts two tokens in order; 8 random bytes; and
-- the environment's clock.
--
-- FLAGS  (none)
-- KEYS
--   [1] catalog  hash   one document a field; its token in @token
-- ARGV
--   [1] token      string   the token that the documents were validated against; empty where there was no catalog
--   [2] least      string   the least number that the new token may have in front
--   [3] random     string   8 random bytes that were never used before, then the environment's clock, s or g
--   [4] channel    string   where the change is told
--   [5] message    msgpack  {kind, token} without the bytes of the token, which come last
--   [6..] documents  string   field, document, field, document…; an empty document deletes the field
-- REPLY
--   {status, token}
--   8 done (the new token), 0 stale (the present one)
-- ERRORS
--   (none)
-- COST
--   HGET, TIME, PUBLISH, HSET, HDEL: 4 calls, and 1 for each document, O(documents)
-- @include lib/statuses

local catalog, token, least, random, channel, message, documents =
  KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], 6
local call = redis.call

local current = call('HGET', catalog, '@token') or ''
if current ~= token then return { STALE, current } end

local time = call('TIME')
local number = math.max(tonumber(least), time[1] * 1000 + math.floor(time[2] / 1000))
if current ~= '' then
  local high, low = struct.unpack('>I4I4', current)
  number = math.max(number, high * 4294967296 + low + 1)
end
local new_token = struct.pack('>I4I4', math.floor(number / 4294967296), number % 4294967296) .. random

call('PUBLISH', channel, message .. new_token)
call('HSET', catalog, '@token', new_token)
for index = documents, #ARGV, 2 do
  if ARGV[index + 1] == '' then
    call('HDEL', catalog, ARGV[index])
  else
    call('HSET', catalog, ARGV[index], ARGV[index + 1])
  end
end
return { DONE, new_token }
