"""`cmsgpack` as Redis gives it to its scripts (lua-cmsgpack 0.4.0), in Lua 5.1; see `headgate.testing.lua_modules`."""

from __future__ import annotations

from typing import Final

CMSGPACK: Final = r"""
local LEVELS_MAX = 16

local function head(first, length, limits)
  -- `limits`: the largest length of each form, and how that form begins and stores it.
  for _, limit in ipairs(limits) do
    if length <= limit[1] then
      return limit[3] and string.char(limit[2]) .. struct.pack(limit[3], length) or string.char(first + length)
    end
  end
  error('too long for MessagePack', 0)
end

local TEXT = { { 31 }, { 255, 0xd9, '>I1' }, { 65535, 0xda, '>I2' }, { 4294967295, 0xdb, '>I4' } }
local ARRAY = { { 15 }, { 65535, 0xdc, '>I2' }, { 4294967295, 0xdd, '>I4' } }
local MAP = { { 15 }, { 65535, 0xde, '>I2' }, { 4294967295, 0xdf, '>I4' } }
local POSITIVE = { { 127 }, { 255, 0xcc, '>I1' }, { 65535, 0xcd, '>I2' }, { 4294967295, 0xce, '>I4' },
  { 9223372036854775808, 0xcf, '>I8' } }

local function pack_number(number)
  if number % 1 == 0 and number >= -9223372036854775808 and number < 9223372036854775808 then
    if number >= 0 then return head(0, number, POSITIVE) end
    if number >= -32 then return string.char(256 + number) end
    if number >= -128 then return string.char(0xd0) .. struct.pack('>i1', number) end
    if number >= -32768 then return string.char(0xd1) .. struct.pack('>i2', number) end
    if number >= -2147483648 then return string.char(0xd2) .. struct.pack('>i4', number) end
    return string.char(0xd3) .. struct.pack('>i8', number)
  end
  local short = struct.pack('>f', number)
  if (struct.unpack('>f', short)) == number then return string.char(0xca) .. short end
  return string.char(0xcb) .. struct.pack('>d', number)
end

-- How many entries a table has, and whether their keys are 1, 2, 3 … without a gap. An empty table is an array.
local function count_entries(entries)
  local count, largest, is_array = 0, 0, true
  for key in pairs(entries) do
    count = count + 1
    if type(key) ~= 'number' or key <= 0 or key % 1 ~= 0 then
      is_array = false
    elseif key > largest then
      largest = key
    end
  end
  return count, is_array and largest == count
end

local function pack_value(value, level)
  local kind = type(value)
  if kind == 'string' then return head(0xa0, #value, TEXT) .. value end
  if kind == 'number' then return pack_number(value) end
  if kind == 'boolean' then return string.char(value and 0xc3 or 0xc2) end
  if kind ~= 'table' or level == LEVELS_MAX then return string.char(0xc0) end
  local count, is_array = count_entries(value)
  local parts = { head(is_array and 0x90 or 0x80, count, is_array and ARRAY or MAP) }
  if is_array then
    for index = 1, count do parts[#parts + 1] = pack_value(value[index], level + 1) end
  else
    for key, entry in pairs(value) do
      parts[#parts + 1] = pack_value(key, level + 1)
      parts[#parts + 1] = pack_value(entry, level + 1)
    end
  end
  return table.concat(parts)
end

local FIXED = {
  [0xca] = '>f', [0xcb] = '>d', [0xcc] = '>I1', [0xcd] = '>I2', [0xce] = '>I4', [0xcf] = '>i8',
  [0xd0] = '>i1', [0xd1] = '>i2', [0xd2] = '>i4', [0xd3] = '>i8',
}
local LENGTHS = {
  [0xd9] = { 'text', '>I1' }, [0xda] = { 'text', '>I2' }, [0xdb] = { 'text', '>I4' },
  [0xdc] = { 'array', '>I2' }, [0xdd] = { 'array', '>I4' }, [0xde] = { 'map', '>I2' }, [0xdf] = { 'map', '>I4' },
}

local function read_struct(format, data, at)
  if at - 1 + struct.size(format) > #data then error('Missing bytes in input.', 0) end
  return struct.unpack(format, data, at)
end

local unpack_value

local function unpack_sequence(kind, length, data, at)
  if kind == 'text' then
    if at - 1 + length > #data then error('Missing bytes in input.', 0) end
    return data:sub(at, at + length - 1), at + length
  end
  local entries, key, value = {}, nil, nil
  for index = 1, length do
    key = index
    if kind == 'map' then key, at = unpack_value(data, at) end
    value, at = unpack_value(data, at)
    entries[key] = value
  end
  return entries, at
end

-- Returns the value that begins at a position, and the position after it.
function unpack_value(data, at)
  local first = data:byte(at)
  if not first then error('Missing bytes in input.', 0) end
  at = at + 1
  if first < 0x80 then return first, at end
  if first < 0x90 then return unpack_sequence('map', first - 0x80, data, at) end
  if first < 0xa0 then return unpack_sequence('array', first - 0x90, data, at) end
  if first < 0xc0 then return unpack_sequence('text', first - 0xa0, data, at) end
  if first >= 0xe0 then return first - 256, at end
  if first == 0xc0 then return nil, at end
  if first == 0xc2 or first == 0xc3 then return first == 0xc3, at end
  if FIXED[first] then return read_struct(FIXED[first], data, at) end
  local form = LENGTHS[first]
  if not form then error('Bad data format in input.', 0) end
  local length
  length, at = read_struct(form[2], data, at)
  return unpack_sequence(form[1], length, data, at)
end

-- Returns the offset of what was left, or -1 at the end; how many values there were; and the values.
local function unpack_some(data, limit, offset)
  if type(data) ~= 'string' and type(data) ~= 'number' then error('string expected, got ' .. type(data), 0) end
  data = tostring(data)
  if limit < 0 or offset < 0 or offset > #data then error('a limit or an offset out of range', 0) end
  local values, count, at = {}, 0, offset + 1
  while at <= #data and count < limit do
    count = count + 1
    values[count], at = unpack_value(data, at)
  end
  return at > #data and -1 or at - 1, count, values
end

local cmsgpack = { _NAME = 'cmsgpack', _VERSION = 'lua-cmsgpack 0.4.0' }

function cmsgpack.pack(...)
  local count, parts = select('#', ...), { ... }
  if count == 0 then error('MessagePack pack needs input.', 0) end
  for index = 1, count do parts[index] = pack_value(parts[index], 0) end
  return table.concat(parts)
end

function cmsgpack.unpack(data)
  local _, count, values = unpack_some(data, math.huge, 0)
  return unpack(values, 1, count)
end

function cmsgpack.unpack_limit(data, limit, offset)
  limit, offset = math.floor(limit), math.floor(offset or 0)
  if limit == 0 and offset == 0 then return cmsgpack.unpack(data) end
  local rest, count, values = unpack_some(data, limit, offset)
  return rest, unpack(values, 1, count)
end

function cmsgpack.unpack_one(data, offset)
  return cmsgpack.unpack_limit(data, 1, offset)
end
"""
