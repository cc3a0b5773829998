-- raise_partition: let a partition stand at a newer catalog. It is never lowered.
--
-- FLAGS  (none)
-- KEYS
--   [1] catalog  string   the catalog token that the partition stands at
-- ARGV
--   [1] token  string   the token to stand at
--   [2] blank  string   1 where a partition may be without a token: it was never written; else 0: its data was lost
-- REPLY
--   {status, token}
--   8 done (stands at the token), 0 stale (stands at a newer one, or at another with the same number), 6 blank
-- ERRORS
--   (none)
-- COST
--   GET, SET: 2 calls
-- @include lib/statuses

local catalog, token, blank = KEYS[1], ARGV[1], ARGV[2]
local call = redis.call

local current = call('GET', catalog)
if not current and blank ~= '1' then return { BLANK } end
if current and current ~= token then
  local high, low = struct.unpack('>I4I4', token)
  local current_high, current_low = struct.unpack('>I4I4', current)
  if current_high > high or (current_high == high and current_low >= low) then return { STALE, current } end
end
if current ~= token then call('SET', catalog, token) end
return { DONE, token }
