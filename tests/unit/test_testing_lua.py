"""`struct` and `cmsgpack` for the Lua of a fake server, held against Python's own `struct` and `msgpack`.

What only the C libraries of Redis can say (formats that are no format, undefined corners) is asked of real servers in
tests/integration/test_testing.py.
"""

from __future__ import annotations

import functools
import math
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lupa import lua51

from headgate.testing.lua_modules import INSTALL, PRELUDE

LUA = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
LUA.execute(INSTALL.encode())


@functools.cache
def compiled(body: str) -> Any:
    return LUA.eval(f"function(...) {PRELUDE} {body} end".encode())


def lua(body: str, *arguments: Any) -> Any:
    """Run a function body with the modules in reach, and return what it returns: several results are a tuple."""
    return compiled(body)(*arguments)


def from_table(value: Any) -> Any:
    """A Lua table as a list if its keys are 1, 2, 3 …, else as a dict."""
    if lua51.lua_type(value) != "table":
        return value
    entries = {key: from_table(entry) for key, entry in value.items()}
    return list(entries.values()) if list(entries) == list(range(1, len(entries) + 1)) else entries


def to_table(value: Any) -> Any:
    if isinstance(value, list):
        return LUA.table_from([to_table(entry) for entry in value])
    if isinstance(value, dict):
        return LUA.table_from({key: to_table(entry) for key, entry in value.items()})
    return value


@pytest.mark.parametrize(
    ("option", "python_option", "least", "most"),
    [
        *(("b", "b", -(2**7), 2**7 - 1), ("B", "B", 0, 2**8 - 1), ("h", "h", -(2**15), 2**15 - 1)),
        *(("H", "H", 0, 2**16 - 1), ("i", "i", -(2**31), 2**31 - 1), ("I", "I", 0, 2**32 - 1)),
        *(("l", "q", -(2**53), 2**53), ("L", "Q", 0, 2**53), ("T", "Q", 0, 2**53), ("i8", "q", -(2**53), 2**53)),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
@given(data=st.data())
def test_a_whole_number_has_the_bytes_that_python_gives_it(
    option: str, python_option: str, least: int, most: int, order: str, data: st.DataObject
) -> None:
    number = data.draw(st.integers(least, most) | st.sampled_from([least, most]))
    packed = lua("return struct.pack(...)", (order + option).encode(), number)
    assert packed == struct.pack(order + python_option, number)
    assert lua("return struct.unpack(...)", (order + option).encode(), packed) == (number, len(packed) + 1)


@pytest.mark.parametrize("order", ["<", ">"])
@given(number=st.floats(allow_nan=False))
def test_a_double_keeps_every_bit(order: str, number: float) -> None:
    packed = lua("return struct.pack(...)", f"{order}d".encode(), number)
    assert packed == struct.pack(f"{order}d", number)
    # A whole number comes to Python as an int, which has no -0: the way back is gone in Lua.
    there_and_back = "local format, packed = ... return struct.pack(format, (struct.unpack(format, packed)))"
    assert lua(there_and_back, f"{order}d".encode(), packed) == packed


@given(number=st.floats(allow_nan=False) | st.floats(width=32, allow_nan=False) | st.floats(-1e-37, 1e-37))
def test_a_float_is_rounded_to_the_nearest_and_to_even_on_a_tie(number: float) -> None:
    try:
        expected = struct.pack("<f", number)
    except OverflowError:  # where Python refuses, C takes infinity
        expected = struct.pack("<f", math.copysign(math.inf, number))
    packed = lua("return struct.pack('<f', ...)", number)
    assert packed == expected
    assert lua("return (struct.unpack('<f', ...))", packed) == struct.unpack("<f", packed)[0]


def test_a_nan_stays_one_and_keeps_its_sign() -> None:
    for number in (math.nan, -math.nan):
        for option in ("<d", "<f", ">d", ">f"):
            packed = lua("return struct.pack(...)", option.encode(), number)
            assert packed == struct.pack(option, number)
            again = lua("return (struct.unpack(...))", option.encode(), packed)
            assert math.isnan(again)
            assert math.copysign(1, again) == math.copysign(1, number)


def test_the_next_position_comes_last_and_a_position_may_be_given() -> None:
    counter = struct.pack("<ddd", 1_700_000_000_000.0, 12.5, 3.0)
    assert lua("return struct.unpack('<dd', ...)", counter) == (1_700_000_000_000.0, 12.5, 17)
    assert lua("return struct.unpack('<d', ...)", counter, 17) == (3.0, 25)
    assert lua("return struct.unpack('<dddB', ...)", counter + b"\x02") == (1_700_000_000_000.0, 12.5, 3.0, 2, 26)
    assert lua("return struct.unpack('', ...)", b"abc", 2) == 2


def test_text_of_every_kind_comes_back() -> None:
    assert lua("return struct.pack('sc2c0', 'a\\0b', 'xyz', 'rest')") == b"a\0b\0xyrest"
    assert lua("return struct.unpack('sBc0x', 'ab\\0\\2xy\\0')") == (b"ab", b"xy", 8)
    assert lua("return struct.size('<!8bdi'), struct.size('>xI3')") == (20, 4)
    every_byte = bytes(range(256))
    assert lua("return struct.pack('c0', ...)", every_byte) == every_byte


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("struct.unpack('<d', '1234567')", "data string too short"),
        ("struct.unpack('<d', '12345678', 2)", "data string too short"),
        ("struct.unpack('B', 'abc', 0)", "offset must be 1 or greater"),
        ("struct.unpack('s', 'abc')", "unfinished string"),
        ("struct.unpack('c0', 'abc')", "needs a previous size"),
        ("struct.pack('q', 1)", "invalid format option 'q'"),
        ("struct.pack('<d')", "number expected, got nil"),
        ("struct.pack('<d', 'many')", "number expected, got string"),
        ("struct.pack('c5', 'abc')", "string too short"),
        ("struct.pack('I33', 1)", "larger than limit of 32"),
        ("struct.pack('!3d', 1)", "not a power of 2"),
        ("struct.pack('<I8', 2^64)", "64 bits do not hold"),
        ("struct.size('s')", "has no fixed size"),
        ("cmsgpack.pack()", "needs input"),
        ("cmsgpack.unpack('\\193')", "Bad data format"),
        ("cmsgpack.unpack('\\146\\1')", "Missing bytes"),
        ("cmsgpack.unpack('\\203\\1')", "Missing bytes"),
        ("cmsgpack.unpack({})", "string expected, got table"),
        ("cmsgpack.unpack_one('abc', 4)", "out of range"),
    ],
)
def test_what_the_c_libraries_refuse_is_refused(body: str, complaint: str) -> None:
    with pytest.raises(lua51.LuaError, match=complaint):
        lua(f"return {body}")


LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.binary(max_size=40)
KEYS = st.binary(max_size=12) | st.integers(-5, -1)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner.filter(lambda value: value is not None), max_size=20)
        | st.dictionaries(KEYS, inner.filter(lambda value: value is not None), min_size=1, max_size=20)
    ),
    max_leaves=30,
)


@given(document=DOCUMENTS)
def test_what_python_packs_lua_reads_and_what_lua_packs_python_reads(document: Any) -> None:
    assert from_table(lua("return cmsgpack.unpack(...)", msgpack.packb(document, use_bin_type=False))) == document
    packed = lua("return cmsgpack.pack(...)", to_table(document))
    assert msgpack.unpackb(packed, raw=True, strict_map_key=False) == document


@pytest.mark.parametrize(
    "number",
    [
        *(0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**53),
        *(-1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1, -(2**53), 0.1, -1e300, math.inf),
    ],
)
def test_a_number_takes_the_shortest_form_that_holds_it(number: float) -> None:
    packed = lua("return cmsgpack.pack(...)", number)
    assert packed == msgpack.packb(number, use_single_float=number == math.inf)


@pytest.mark.parametrize("length", [0, 31, 32, 255, 256, 65_535, 65_536])
def test_text_takes_the_shortest_form_that_holds_it(length: int) -> None:
    assert lua("return cmsgpack.pack(...)", b"x" * length) == msgpack.packb("x" * length)
    assert lua("return #cmsgpack.unpack(...)", msgpack.packb("x" * length)) == length


@pytest.mark.parametrize("length", [0, 15, 16, 65_536])
def test_an_array_and_a_map_of_any_length_come_back(length: int) -> None:
    array, entries = list(range(1, length + 1)), {-number: True for number in range(1, length + 1)}
    assert lua("return cmsgpack.pack(...)", to_table(array)) == msgpack.packb(array)
    assert lua("return #cmsgpack.unpack(...)", msgpack.packb(array)) == length
    packed = lua("return cmsgpack.pack(...)", to_table(entries))
    assert packed == b"\x90" if length == 0 else msgpack.unpackb(packed, strict_map_key=False) == entries


def test_only_keys_from_one_on_without_a_gap_make_an_array() -> None:
    assert lua("return cmsgpack.pack({1, nil, 3})") == msgpack.packb({1: 1, 3: 3})
    assert lua("return cmsgpack.pack({['1'] = 'a'})") == msgpack.packb({"1": "a"})
    assert lua("return cmsgpack.pack({}, {nil}, {true})") == b"\x90\x90\x91\xc3"


def test_deeper_than_sixteen_levels_nothing_is_packed() -> None:
    assert lua("local t = {} for _ = 1, 20 do t = {t} end return cmsgpack.pack(t)") == b"\x91" * 16 + b"\xc0"


def test_values_behind_each_other_are_several_results() -> None:
    assert lua("return select('#', cmsgpack.unpack(''))") == 0
    assert lua("return cmsgpack.unpack(cmsgpack.pack('a', nil, false))") == (b"a", None, False)
    assert lua("return cmsgpack.unpack_limit('\\1\\2\\3', 2)") == (2, 1, 2)
    assert lua("return cmsgpack.unpack_limit('\\1\\2\\3', 2, 1)") == (-1, 2, 3)
    assert lua("return cmsgpack.unpack_one('\\1\\2\\3', 1)") == (2, 2)


def test_installing_leaves_no_global_behind() -> None:
    fresh = lua51.LuaRuntime(encoding=None)
    before = set(fresh.globals().keys())
    fresh.execute(INSTALL.encode())
    assert set(fresh.globals().keys()) == before


def test_another_lua_than_that_of_redis_is_refused() -> None:
    newer = lua51.LuaRuntime(encoding=None)
    newer.execute(b"_VERSION = 'Lua 5.4'")
    with pytest.raises(lua51.LuaError, match=r"Redis has Lua 5\.1, and this is Lua 5\.4"):
        newer.execute(INSTALL.encode())
