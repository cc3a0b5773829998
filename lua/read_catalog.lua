-- read_catalog: every document of the catalog, and its token, in one step.
--
-- FLAGS  no-writes
-- KEYS
--   [1] catalog  hash   one document a field; its token
-- ARGV
--   (none)
-- REPLY
--   {status, field, document, field, document…}
--   8 done
-- ERRORS
--   (none)
-- COST
--   HGETALL: 1 call, O(documents)
-- @include lib/statuses

local catalog = KEYS[1]

local documents = redis.call('HGETALL', catalog)
table.insert(documents, 1, DONE)
return documents
