"""`struct` as Redis gives it to its scripts (lua_struct 0.2), in Lua 5.1; see `headgate.testing.lua_modules`."""

from __future__ import annotations

from typing import Final

STRUCT: Final = r"""
local floor, ceil, frexp, ldexp, huge = math.floor, math.ceil, math.frexp, math.ldexp, math.huge
local INTEGER_SIZES = { b = 1, B = 1, h = 2, H = 2, l = 8, L = 8, T = 8, i = 4, I = 4 }
local OTHER_SIZES = { f = 4, d = 8, x = 1, c = 1, s = 0 }
local INTEGER_SIZE_MAX, SIZE_MAX, ALIGNMENT_DEFAULT, HALF = 32, 2147483647, 8, 4294967296

local function wrong(what, argument, verb)
  error("bad argument #" .. argument .. " to '" .. verb .. "' (" .. what .. ")", 0)
end

local function number_of(value, argument, verb)
  local is_text = type(value) == 'string'
  local number = (is_text or type(value) == 'number') and tonumber(value)
  if not number then wrong('number expected, got ' .. type(value), argument, verb) end
  return number
end

local function text_of(value, argument, verb)
  if type(value) == 'string' then return value end
  if type(value) ~= 'number' then wrong('string expected, got ' .. type(value), argument, verb) end
  return tostring(value)
end

-- A format as a list of elements, made once a format: what it is, its size, its order of bytes, its alignment.
-- A control (order, alignment, blank) is an element of its own, because even that one asks that the data reach to it.
local function parse(format)
  format = format:match('^%Z*')
  local plan, little, alignment, at = {}, true, 1, 1
  while at <= #format do
    local option = format:sub(at, at)
    local digits = format:match('^%d+', at + 1) or ''
    local takes_digits = option == 'i' or option == 'I' or option == 'c' or option == '!'
    local given = takes_digits and tonumber(digits)
    if given and given > SIZE_MAX then error('integral size overflow', 0) end
    local size, kind = INTEGER_SIZES[option], 'control'
    if size then
      kind, size = 'integer', given or size
      if size > INTEGER_SIZE_MAX then error('integral size ' .. size .. ' is larger than limit of 32', 0) end
    elseif OTHER_SIZES[option] then
      kind, size = option, given or OTHER_SIZES[option]
    elseif option == '<' or option == '>' then
      little, size = option == '<', 0
    elseif option == '!' then
      alignment, size = given or ALIGNMENT_DEFAULT, 0
      local fraction = frexp(alignment)
      if fraction ~= 0.5 then error('alignment ' .. alignment .. ' is not a power of 2', 0) end
    elseif option == ' ' then
      size = 0
    else
      kind, size = 'unknown', 0
    end
    plan[#plan + 1] = {
      kind = kind, option = option, size = size, little = little, signed = option:match('%l') ~= nil,
      alignment = kind ~= 'c' and size < alignment and size or alignment, aligned = kind ~= 'c' and size > 0,
    }
    at = at + 1 + (takes_digits and #digits or 0)
  end
  return plan
end

local plans = {}
local function plan_of(format)
  format = text_of(format, 1, 'struct')
  local plan = plans[format]
  if not plan then
    plan = parse(format)
    plans[format] = plan
  end
  return plan
end

-- Those bits of a number that the mask has, as C's `&`.
local function bits_of(number, mask)
  local result, place = 0, 1
  while mask > 0 do
    if mask % 2 == 1 and floor(number / place) % 2 == 1 then result = result + place end
    mask, place = floor(mask / 2), place * 2
  end
  return result
end

-- How many bytes bring a length to the element's alignment. A size that is no power of 2 is masked as C masks it.
local function gap(element, length)
  if not element.aligned or element.alignment == 1 then return 0 end
  local mask = element.alignment - 1
  return bits_of(element.alignment - bits_of(length, mask), mask)
end

local function refuse_unknown(element, verb)
  wrong("invalid format option '" .. element.option .. "'", 1, verb)
end

local function in_order(bytes, little)
  return little and bytes or bytes:reverse()
end

local function pack_integer(number, element)
  number = number < 0 and ceil(number) or floor(number)
  if not (number >= -HALF * HALF / 2 and number < HALF * HALF) then
    error('a whole number that 64 bits do not hold', 0)
  end
  local low, high, bytes = number % HALF, floor(number / HALF) % HALF, {}
  for index = 1, element.size do
    local rest = low % 256
    bytes[index] = string.char(rest)
    low, high = (low - rest) / 256 + high % 256 * 16777216, floor(high / 256)
  end
  return in_order(table.concat(bytes), element.little)
end

local function unpack_integer(data, first, element)
  local size = element.size
  local bytes, low, high = in_order(data:sub(first, first + size - 1), element.little), 0, 0
  for index = size < 4 and size or 4, 1, -1 do low = low * 256 + bytes:byte(index) end
  for index = size < 8 and size or 8, 5, -1 do high = high * 256 + bytes:byte(index) end
  if element.signed and size > 0 then
    if size > 8 then error('a signed integer of more than 8 bytes', 0) end
    if bytes:byte(size) >= 128 then
      if size > 4 then high = high - 256 ^ (size - 4) else low = low - 256 ^ size end
    end
  end
  return high * HALF + low
end

-- Sign, then the number's fraction and exponent as IEEE 754 stores them, with `digits` bits of fraction.
local function float_parts(number, digits, exponent_max)
  local sign = (number < 0 or (number == 0 and 1 / number < 0)) and 1 or 0
  if number ~= number then return tostring(number):sub(1, 1) == '-' and 1 or 0, 2 ^ (digits - 1), exponent_max end
  number = math.abs(number)
  if number == 0 then return sign, 0, 0 end
  if number == huge then return sign, 0, exponent_max end
  local _, exponent = frexp(number)
  exponent = exponent + (exponent_max - 1) / 2 - 1
  if exponent < 1 then exponent = 1 end
  -- Round to nearest, to even on a tie; a carry goes into the exponent by itself, as the stored form is made for.
  local scaled = ldexp(number, digits - exponent + (exponent_max - 1) / 2)
  local whole = floor(scaled)
  local rest = scaled - whole
  if rest > 0.5 or (rest == 0.5 and whole % 2 == 1) then whole = whole + 1 end
  local hidden = 2 ^ digits
  if whole < hidden then return sign, whole, 0 end
  if whole == hidden * 2 then whole, exponent = hidden, exponent + 1 end
  if exponent >= exponent_max then return sign, 0, exponent_max end
  return sign, whole - hidden, exponent
end

local function float_of(sign, fraction, exponent, digits, exponent_max)
  local number
  if exponent == exponent_max then
    if fraction ~= 0 then
      number = 0 / 0
      local is_negative = tostring(number):sub(1, 1) == '-'
      return (sign == 1) == is_negative and number or -number
    end
    number = huge
  elseif exponent == 0 then
    number = ldexp(fraction, 2 - (exponent_max + 1) / 2 - digits)
  else
    number = ldexp(fraction + 2 ^ digits, exponent - (exponent_max - 1) / 2 - digits)
  end
  return sign == 1 and -number or number
end

local function pack_double(number, little)
  local sign, fraction, exponent = float_parts(number, 52, 2047)
  local low, high = fraction % HALF, floor(fraction / HALF)
  return in_order(string.char(
    low % 256, floor(low / 256) % 256, floor(low / 65536) % 256, floor(low / 16777216),
    high % 256, floor(high / 256) % 256, floor(high / 65536) + exponent % 16 * 16, floor(exponent / 16) + sign * 128
  ), little)
end

local function pack_float(number, little)
  local sign, fraction, exponent = float_parts(number, 23, 255)
  return in_order(string.char(
    fraction % 256, floor(fraction / 256) % 256, floor(fraction / 65536) + exponent % 2 * 128,
    floor(exponent / 2) + sign * 128
  ), little)
end

local function unpack_double(data, first, little)
  local a, b, c, d, e, f, g, h = data:byte(first, first + 7)
  if not little then a, b, c, d, e, f, g, h = h, g, f, e, d, c, b, a end
  local fraction = ((g % 16 * 256 + f) * 256 + e) * HALF + ((d * 256 + c) * 256 + b) * 256 + a
  return float_of(h >= 128 and 1 or 0, fraction, h % 128 * 16 + floor(g / 16), 52, 2047)
end

local function unpack_float(data, first, little)
  local a, b, c, d = data:byte(first, first + 3)
  if not little then a, b, c, d = d, c, b, a end
  return float_of(d >= 128 and 1 or 0, (c % 128 * 256 + b) * 256 + a, d % 128 * 2 + floor(c / 128), 23, 255)
end

local struct = {}

function struct.pack(format, ...)
  local values, argument, parts, length = { ... }, 0, {}, 0
  for _, element in ipairs(plan_of(format)) do
    local missing, kind, part = gap(element, length), element.kind, ''
    if kind == 'integer' or kind == 'd' or kind == 'f' then
      argument = argument + 1
      local number = number_of(values[argument], argument + 1, 'pack')
      if kind == 'd' then
        part = pack_double(number, element.little)
      elseif kind == 'f' then
        part = pack_float(number, element.little)
      else
        part = pack_integer(number, element)
      end
    elseif kind == 'c' or kind == 's' then
      argument = argument + 1
      part = text_of(values[argument], argument + 1, 'pack')
      if #part < element.size then wrong('string too short', argument + 1, 'pack') end
      if element.size > 0 then part = part:sub(1, element.size) end
      if kind == 's' then part = part .. '\0' end
    elseif kind == 'x' then
      part = '\0'
    elseif kind == 'unknown' then
      refuse_unknown(element, 'pack')
    end
    parts[#parts + 1] = ('\0'):rep(missing) .. part
    length = length + missing + #part
  end
  return table.concat(parts)
end

function struct.unpack(format, data, position)
  data = text_of(data, 2, 'unpack')
  local at = position == nil and 1 or number_of(position, 3, 'unpack')
  at = at < 0 and ceil(at) or floor(at)
  if at < 1 then wrong('offset must be 1 or greater', 3, 'unpack') end
  local results, count = {}, 0
  for _, element in ipairs(plan_of(format)) do
    local kind, size = element.kind, element.size
    at = at + gap(element, at - 1)
    if at - 1 + size > #data then wrong('data string too short', 2, 'unpack') end
    local result
    if kind == 'd' then
      result = unpack_double(data, at, element.little)
    elseif kind == 'integer' then
      result = unpack_integer(data, at, element)
    elseif kind == 'f' then
      result = unpack_float(data, at, element.little)
    elseif kind == 'c' then
      if size == 0 then
        size = count > 0 and tonumber(results[count])
        if not size then error("format 'c0' needs a previous size", 0) end
        count, size = count - 1, size < 0 and ceil(size) or floor(size)
        if size < 0 or at - 1 + size > #data then wrong('data string too short', 2, 'unpack') end
      end
      result = data:sub(at, at + size - 1)
    elseif kind == 's' then
      local last = data:find('%z', at)
      if not last then error('unfinished string in data', 0) end
      result, size = data:sub(at, last - 1), last - at + 1
    elseif kind == 'unknown' then
      refuse_unknown(element, 'unpack')
    end
    if result ~= nil then
      count = count + 1
      results[count] = result
    end
    at = at + size
  end
  results[count + 1] = at
  return unpack(results, 1, count + 1)
end

function struct.size(format)
  local length = 0
  for _, element in ipairs(plan_of(format)) do
    if (element.kind == 's' or element.kind == 'c') and element.size == 0 then
      wrong("option '" .. element.option .. "' has no fixed size", 1, 'size')
    end
    -- Here, and here alone, the C library passes over letters that it does not know.
    if element.kind == 'unknown' and not element.option:match('%w') then refuse_unknown(element, 'size') end
    length = length + gap(element, length) + element.size
  end
  return length
end
"""
