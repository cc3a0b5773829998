-- load: the documents that apply to a request, both tokens and the server's time, read in one step.
--
-- It walks from the entities of the request to their roots; its cost grows with the chain, not with the customer.
--
-- FLAGS  no-writes
-- KEYS
--   [1] catalog  string   the catalog token that the customer's partition stands at
--   [2] usage    hash     @v and @n
--   [3] config   hash     the customer's documents
-- ARGV
--   [1] moment   doubles  not after, given now (epoch ms)
--   [2] wanted   msgpack  {fields: [field…], entities: [id…], capabilities: [capability…]}
-- REPLY
--   {status, server_now_ms, catalog token, version or empty, next number, field, document, field, document…}
--   8 done, 6 blank, 7 other_clock; fields without a document are left out
-- ERRORS
--   (none)
-- COST
--   GET, TIME, HMGET: 4 calls, and 1 for each level of the hierarchy, O(fields + nodes × capabilities)
-- @include lib/statuses
-- @include lib/clock

local catalog, usage, config, moment, wanted = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local call = redis.call
local LEVELS_MAX, FIELDS_A_CALL = 16, 1000

local _, given_now_ms = struct.unpack('<dd', moment)
local catalog_token = call('GET', catalog)
local now_ms = clock_now_ms(call, given_now_ms)
if not catalog_token then return { BLANK, now_ms } end
if catalog_token:byte(-1) ~= CLOCK then return { OTHER_CLOCK, now_ms } end

local tokens = call('HMGET', usage, '@v', '@n')
local reply = { DONE, now_ms, catalog_token, tokens[1] or '', tokens[2] or '0' }

local function read(fields, found)
  for first = 1, #fields, FIELDS_A_CALL do
    local last = math.min(first + FIELDS_A_CALL - 1, #fields)
    local documents = call('HMGET', config, unpack(fields, first, last))
    for index = 1, last - first + 1 do
      local field, document = fields[first + index - 1], documents[index]
      if document then
        reply[#reply + 1], reply[#reply + 2] = field, document
        found[field] = document
      end
    end
  end
end

wanted = cmsgpack.unpack(wanted)
read(wanted.fields, {})

local level, seen = wanted.entities, {}
for _ = 1, LEVELS_MAX do
  local fields, entities = {}, {}
  for _, entity in ipairs(level) do
    if not seen[entity] then
      seen[entity] = true
      entities[#entities + 1], fields[#fields + 1] = entity, 'entity:' .. entity
      for _, capability in ipairs(wanted.capabilities) do
        fields[#fields + 1] = 'assignments:' .. entity .. ':' .. capability
      end
    end
  end
  if #entities == 0 then break end
  local found, parents = {}, {}
  read(fields, found)
  for _, entity in ipairs(entities) do
    local document = found['entity:' .. entity]
    local parent = document and cmsgpack.unpack(document).parent
    if parent then parents[#parents + 1] = parent end
  end
  level = parents
end
return reply
