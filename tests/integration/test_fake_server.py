"""The Lua of a fake server gives the same answers, the same bytes and the same refusals as that of real ones."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.scripts import ScriptSet, load_scripts
from headgate.testing.fake_server import FakeServer, load_fake_scripts
from headgate.testing.lua_modules import PRELUDE
from servers import RedisServer, available_binaries

BINARIES = [pytest.param(path, id=name) for name, path in sorted(available_binaries().items())]


def code_or_reply(run: Callable[[], Any]) -> Any:
    """The reply, or the code of an error that a script gives on purpose."""
    try:
        return run()
    except redis.ResponseError as error:
        code = str(error).split()[0]
        if not code.replace("_", "").isupper() or code == "ERR":
            raise
        return code


@dataclass
class Pair:
    """A real server and a fake one, and the scripts of both with the instant as an argument."""

    real: Any  # a redis.Redis: the driver has no types for what is asked of it here
    fake: FakeServer
    real_scripts: ScriptSet = field(default_factory=lambda: load_scripts(clock="given"))
    fake_scripts: ScriptSet = field(default_factory=lambda: load_fake_scripts("given"))

    @property
    def fake_client(self) -> Any:
        return self.fake.redis

    def clear(self) -> None:
        self.real.flushall()
        self.fake.redis.flushall()

    def same(self, body: str, *arguments: bytes) -> Any:
        """Run Lua on both, hold the replies against each other, and return them."""
        real = self.real.execute_command("EVAL", body, 0, *arguments)
        assert self.fake_client.execute_command("EVAL", PRELUDE + body, 0, *arguments) == real
        return real

    def same_reply(self, name: str, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        """Run a script on both, hold replies or error codes against each other, and return them."""
        source = self.real_scripts[name].source
        real = code_or_reply(lambda: self.real.execute_command("EVAL", source, len(keys), *keys, *args))
        fake = code_or_reply(lambda: self.fake.run(self.fake_scripts, name, keys, args))
        assert fake == real, name
        return real

    def same_data(self) -> None:
        keys = sorted(self.real.keys())
        assert sorted(self.fake.redis.keys()) == keys
        for key in keys:
            if self.real.type(key) == b"hash":
                assert self.fake.redis.hgetall(key) == self.real.hgetall(key), key
            elif self.real.type(key) == b"zset":
                everything = ("ZRANGE", key, 0, -1, "WITHSCORES")
                assert self.fake_client.execute_command(*everything) == self.real.execute_command(*everything), key
            else:
                assert self.fake.redis.get(key) == self.real.get(key), key


@pytest.fixture(scope="module", params=BINARIES)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as started:
        yield started


@pytest.fixture(scope="module")
def pair(server: RedisServer) -> Iterator[Pair]:
    pair = Pair(server.client(), FakeServer())
    yield pair
    pair.fake.close()


# Results as text that tells everything apart: how many there are, the type of each, a number to its last bit.
SHOW = """
local function show(value)
  if type(value) == 'number' then return string.format('%.17g', value) end
  if type(value) == 'string' then return string.format('%q', value) end
  if type(value) ~= 'table' then return tostring(value) end
  local shown = {}
  for key, entry in pairs(value) do shown[#shown + 1] = show(key) .. '=' .. show(entry) end
  table.sort(shown)
  return '{' .. table.concat(shown, ',') .. '}'
end
local function show_all(succeeded, ...)
  if not succeeded then return 'refused' end
  local shown = { select('#', ...) }
  for index = 1, select('#', ...) do shown[index + 1] = show((select(index, ...))) end
  return table.concat(shown, ' ')
end
"""
PACK = (
    SHOW
    + """
local values = {}
for index = 2, #ARGV do
  local kind, value = ARGV[index]:sub(1, 1), ARGV[index]:sub(2)
  values[index - 1] = kind == 'n' and tonumber(value) or value
end
return show_all(pcall(struct.pack, ARGV[1], unpack(values, 1, #ARGV - 1)))
"""
)
UNPACK = SHOW + "return show_all(pcall(struct.unpack, ARGV[1], ARGV[2], tonumber(ARGV[3])))"
SIZE = SHOW + "return show_all(pcall(struct.size, ARGV[1]))"
READ = SHOW + "return show_all(pcall(cmsgpack.unpack, ARGV[1]))"
READ_SOME = SHOW + "return show_all(pcall(cmsgpack.unpack_limit, ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])))"
PACK_AGAIN = "return cmsgpack.pack(cmsgpack.unpack(ARGV[1]))"

CONTROLS = st.sampled_from(["<", ">", " ", "!", "!1", "!2", "!4", "!8", "x"])
OPTIONS = st.sampled_from([*"bBhHlLTfdsxciI", *(f"{kind}{size}" for kind in "iI" for size in range(9)), "c0", "c3"])
FORMATS = st.lists(CONTROLS | OPTIONS, max_size=8).map("".join)
# Any text at all, but for signed integers of more than 8 bytes, which are undefined in C.
ODD_FORMATS = st.text("<>!bBhHIlLTfdsxc 012345678?q", max_size=8)
WITHIN_64_BITS = st.integers(-(2**63), 2**63 - 1) | st.floats(-(2.0**62), 2.0**62)
NUMBERS = WITHIN_64_BITS.map(lambda number: b"n" + repr(float(number)).encode())
TEXTS = st.binary(max_size=12).map(lambda text: b"t" + text)
FRACTIONS = st.floats().map(lambda number: b"n" + repr(number).encode())


@given(format=FORMATS | ODD_FORMATS, values=st.lists(NUMBERS | TEXTS, max_size=8))
def test_struct_packs_or_refuses_as_redis_does(pair: Pair, format: str, values: list[bytes]) -> None:
    pair.same(PACK, format.encode(), *values)


@given(format=st.text("<>df ", max_size=6), values=st.lists(FRACTIONS, max_size=6))
def test_struct_packs_doubles_and_floats_as_redis_does(pair: Pair, format: str, values: list[bytes]) -> None:
    pair.same(PACK, format.encode(), *values)


@given(format=FORMATS | ODD_FORMATS, data=st.binary(max_size=60), position=st.integers(0, 62))
def test_struct_unpacks_or_refuses_as_redis_does(pair: Pair, format: str, data: bytes, position: int) -> None:
    pair.same(UNPACK, format.encode(), data, b"%d" % position)
    pair.same(SIZE, format.encode())


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.floats(width=32)
    | st.binary(max_size=40)
)
KEYS = st.binary(max_size=12) | st.integers(-3, 3) | st.floats(allow_nan=False) | st.booleans()
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(KEYS, inner, max_size=20), max_leaves=30
)


def packed(document: Any) -> bytes:
    return bytes(msgpack.packb(document, use_bin_type=False))


def parsed(text: bytes) -> list[Any]:
    """Every value of a packed text, with what Python takes for equal told apart, and maps in one order."""
    unpacker = msgpack.Unpacker(
        raw=True, strict_map_key=False, object_pairs_hook=lambda pairs: sorted(map(repr, pairs))
    )
    unpacker.feed(text)
    return [repr(value) for value in unpacker]


@given(documents=st.lists(DOCUMENTS, max_size=3))
def test_cmsgpack_reads_and_packs_as_redis_does(pair: Pair, documents: list[Any]) -> None:
    text = b"".join(map(packed, documents))
    pair.same(READ, text)
    if documents:
        real = pair.real.execute_command("EVAL", PACK_AGAIN, 0, text)
        fake = pair.fake_client.execute_command("EVAL", PRELUDE + PACK_AGAIN, 0, text)
        assert (len(fake), parsed(fake)) == (len(real), parsed(real))


@given(text=st.binary(max_size=60), limit=st.integers(-1, 4), offset=st.integers(-1, 62))
def test_cmsgpack_reads_or_refuses_any_bytes_as_redis_does(pair: Pair, text: bytes, limit: int, offset: int) -> None:
    pair.same(READ, text)
    pair.same(READ_SOME, text, b"%d" % limit, b"%d" % offset)


@given(document=DOCUMENTS, cut=st.integers(0, 200))
def test_cmsgpack_refuses_what_was_cut_as_redis_does(pair: Pair, document: Any, cut: int) -> None:
    pair.same(READ, packed(document)[:cut])


# Random calls of the scripts themselves, on one customer of one partition. Tokens and instants come from short lists,
# so that stale, late, moved on and other clock all happen, and not only by themselves.
NOW_MS = 1_700_000_000_000.0
HOUR_MS = 3_600_000.0
MOMENT = struct.pack("<dd", NOW_MS, NOW_MS)
CATALOG, USAGE, CONFIG, META = b"hg:{t/0}:catalog", b"hg:{t/0}:c:usage", b"hg:{t/0}:c:config", b"hg:t:meta"
CUSTOMERS = b"hg:{t/0}:customers"
BUCKETS = (b"hg:{t/0}:c:usage:0", b"hg:{t/0}:c:usage:7")
TOKENS = tuple(struct.pack(">Q", 4_000_000_000_000_000 + number) + b"\0\xffrandom" + b"g" for number in range(3))
OTHER_CLOCK = TOKENS[0][:-1] + b"s"
VERSIONS = (b"", b"version1", b"version\xff")
FIELDS = (b"\0", b"a", b"\xff\r\n\0\1\2", b"used--")
INSTANTS = st.sampled_from([NOW_MS, NOW_MS + 1, NOW_MS + HOUR_MS - 1, NOW_MS + HOUR_MS, NOW_MS - 1, NOW_MS - HOUR_MS])
STARTS = st.sampled_from([NOW_MS, NOW_MS - HOUR_MS, NOW_MS + HOUR_MS, NOW_MS + 5 * HOUR_MS])
LIMITS = st.sampled_from([0.0, 1.0, 10.0, 0.3, 1e9, 2.0**60, float("inf")])
AMOUNTS = st.sampled_from([0.0, 1.0, 3.0, 0.1, 0.2, 2.5, 2.0**35, 2.0**35 + 0.5, 2.0**53 - 1, 1e-5])
CHANGES = AMOUNTS | AMOUNTS.map(lambda amount: -amount)
USUALLY_FIRST = [0, 0, 0, 0, 0, 1, 2]
ENTITIES = ("org", "team", "user")


@st.composite
def requests(draw: st.DrawFn, amounts: st.SearchStrategy[float]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Keys; the arguments up to the layout; the fields."""
    counts = [draw(st.integers(0, 2)), *draw(st.lists(st.integers(1, 3), max_size=2))]
    constraints = [
        struct.pack("<dddB", draw(LIMITS), draw(STARTS), HOUR_MS, draw(st.integers(1, 2))) for _ in range(sum(counts))
    ]
    not_after_ms = draw(st.sampled_from([NOW_MS + 9 * HOUR_MS, NOW_MS + 9 * HOUR_MS, NOW_MS - 1]))
    head = (not_after_ms, draw(INSTANTS), draw(amounts), draw(amounts), NOW_MS - HOUR_MS, NOW_MS + HOUR_MS)
    fields = [field for count in counts for field in draw(st.permutations(FIELDS))[:count]]
    token, version = TOKENS[draw(st.sampled_from(USUALLY_FIRST))], VERSIONS[1 - draw(st.sampled_from(USUALLY_FIRST))]
    request = struct.pack("<6d", *head) + b"".join(constraints)
    keys = [CATALOG, USAGE, *BUCKETS[: len(counts) - 1]]
    return keys, [token, version, request, bytes(counts)], fields


@st.composite
def configurations(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    documents: list[bytes] = []
    for entity in draw(st.lists(st.sampled_from(ENTITIES), max_size=3)):
        document = {"id": entity, "name": draw(st.text(max_size=20)), "parent": draw(st.sampled_from(ENTITIES))}
        documents += [
            f"entity:{entity}".encode(),
            draw(st.sampled_from([packed(document), packed({"id": entity}), b""])),
        ]
        documents += [f"assignments:{entity}:feature:f".encode(), packed([{"limit": draw(LIMITS), "scope": []}])]
    moment = struct.pack("<dd", draw(st.sampled_from([NOW_MS + HOUR_MS, NOW_MS + HOUR_MS, 0.0])), NOW_MS)
    stamp = [TOKENS[draw(st.sampled_from(USUALLY_FIRST))], draw(st.sampled_from(VERSIONS))]
    rest = [moment, draw(st.sampled_from(VERSIONS[1:])), b"%d" % draw(st.integers(0, 99)), b"hg:t:updates", b"\0told"]
    return [CATALOG, USAGE, CONFIG, CUSTOMERS], stamp + rest + [b"cus"] + documents


LOADS = st.builds(
    lambda entities, fields: packed({"fields": fields, "entities": entities, "capabilities": ["feature:f", "x"]}),
    st.lists(st.sampled_from([*ENTITIES, "unknown"]), max_size=4),
    st.lists(st.sampled_from(["customer", "entity:org"]), max_size=2),
)
COUNTERS = st.lists(st.floats(), min_size=3, max_size=3) | st.tuples(STARTS, CHANGES, AMOUNTS)
HOW = st.tuples(st.sampled_from([b"DELTA", b"SET"]), INSTANTS.map(lambda instant: struct.pack("<d", instant)))
Step = tuple[str, list[bytes], list[bytes]]
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        lambda name, r: (name, r[0], r[1] + r[2]), st.sampled_from(["check", "consume", "consume"]), requests(AMOUNTS)
    ),
    st.builds(lambda r, how: ("report", r[0], [*r[1], *how, *r[2]]), requests(CHANGES), HOW),
    configurations().map(lambda c: ("configure", *c)),
    LOADS.map(lambda wanted: ("load", [CATALOG, USAGE, CONFIG], [MOMENT, wanted])),
    st.builds(
        lambda token, blank: ("raise_partition", [CATALOG], [token, blank]),
        st.sampled_from([*TOKENS, OTHER_CLOCK]),
        st.sampled_from([b"0", b"1"]),
    ),
    st.builds(
        lambda key, name, numbers, size: ("put counter", [key, name], [struct.pack("<ddd", *numbers)[:size]]),
        *(st.sampled_from([USAGE, *BUCKETS]), st.sampled_from(FIELDS), COUNTERS, st.sampled_from([16, 24])),
    ),
)
ALWAYS_FIRST: list[Step] = [
    ("raise_partition", [CATALOG], [TOKENS[0], b"1"]),
    (
        "configure",
        [CATALOG, USAGE, CONFIG, CUSTOMERS],
        [
            TOKENS[0],
            b"",
            MOMENT,
            VERSIONS[1],
            b"9",
            b"hg:t:updates",
            b"told",
            b"cus",
            b"customer",
            b"c",
        ],
    ),
]


NAMES: list[bytes] = [b"subscription:s", b"subscription:t"]
NAMED = b"hg:{t/0}:names"
KEYS_OF_FACE = b"hg:t:api-keys"
IDS = [b"a", b"b", b"B", b"b-1", b"c"]
OTHER_STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        lambda customer, rest: ("configure", rest[0], [TOKENS[0], b"", *rest[1][2:7], customer, *rest[1][8:]]),
        st.sampled_from(IDS),
        configurations(),
    ),
    st.builds(
        lambda first, most: ("find_customers", [CATALOG, CUSTOMERS], [MOMENT, first, b"+", most]),
        st.sampled_from([b"-", b"(a", b"(b", b"(b-", b"(zz"]),
        st.sampled_from([b"1", b"3", b"100"]),
    ),
    st.builds(
        lambda first, most: ("find_customers", [CATALOG, CUSTOMERS], [MOMENT, first, b"-", most]),
        st.sampled_from([b"+", b"(a", b"(b", b"(b-", b"(zz"]),
        st.sampled_from([b"1", b"3", b"100"]),
    ),
    st.builds(
        lambda name, owner: ("claim", [CATALOG, NAMED], [MOMENT, name, owner]),
        st.sampled_from(NAMES),
        st.sampled_from([b"a", b"a:site"]),
    ),
    st.builds(lambda name: ("find_owner", [CATALOG, NAMED], [MOMENT, name]), st.sampled_from(NAMES)),
    st.builds(
        lambda *args: ("write_api_key", [KEYS_OF_FACE], [MOMENT, *args]),
        st.sampled_from([b"one", b"two"]),
        st.sampled_from([b"", b"first", b"second"]),
        st.sampled_from([b"first", b"second"]),
    ),
)


@settings(max_examples=60)
@given(steps=st.lists(OTHER_STEPS, min_size=1, max_size=12), is_blank=st.booleans())
def test_customers_names_and_keys_are_as_on_a_real_server(pair: Pair, steps: list[Step], is_blank: bool) -> None:
    pair.clear()
    for name, keys, args in steps if is_blank else ALWAYS_FIRST + steps:
        pair.same_reply(name, keys, args)
    pair.same_data()
    source = pair.real_scripts["read_api_keys"].source
    for reply in (
        pair.real.execute_command("EVAL", source, 1, KEYS_OF_FACE, MOMENT),
        pair.fake.run(pair.fake_scripts, "read_api_keys", [KEYS_OF_FACE], [MOMENT]),
    ):
        assert reply[:2] == [8, NOW_MS]
        assert dict(zip(reply[2::2], reply[3::2], strict=True)) == pair.real.hgetall(KEYS_OF_FACE)  # in any order


@settings(max_examples=60)
@given(steps=st.lists(STEPS, min_size=1, max_size=12), is_blank=st.booleans())
def test_any_sequence_of_calls_answers_as_on_a_real_server(pair: Pair, steps: list[Step], is_blank: bool) -> None:
    pair.clear()
    for name, keys, args in steps if is_blank else ALWAYS_FIRST + steps:
        if name == "put counter":
            for client in (pair.real, pair.fake_client):
                client.hset(*keys, *args)
        else:
            pair.same_reply(name, keys, args)
    pair.same_data()


def test_the_catalog_is_written_and_read_as_on_a_real_server(pair: Pair) -> None:
    pair.clear()
    catalog, blank = [b"hg:t:catalog"], b"0"
    opening = pair.real_scripts["open_environment"].source
    assert pair.same_reply("mark_spread", [META], [b"1"]) == [6]
    *_, spread = pair.real.execute_command("EVAL", opening, 1, META, 1, 8, 1, "server")
    *_, also_spread = pair.fake.run(pair.fake_scripts, "open_environment", [META], [b"1", b"8", b"1", b"server"])
    assert spread == also_spread == blank
    assert pair.same_reply("mark_spread", [META], [b"1"]) == [8]
    ending, told = [b"12345678g", b"hg:t:updates", b"told"], [b"feature:f", packed({"id": "f"})]
    least = b"4000000000000000"
    status, token = pair.same_reply("write_catalog", catalog, [b"", least, *ending, *told])
    assert (status, token[:8]) == (8, struct.pack(">Q", 4_000_000_000_000_000))
    assert pair.same_reply("write_catalog", catalog, [b"", least, *ending, *told]) == [0, token]
    status, next_token = pair.same_reply("write_catalog", catalog, [token, b"0", *ending, b"feature:f", b"", *told])
    assert (status, next_token[:8]) == (8, struct.pack(">Q", 4_000_000_000_000_001))
    assert pair.same_reply("read_catalog", catalog, [MOMENT])[0] == 8
    pair.same_data()


def test_a_scan_gives_every_document_once(pair: Pair) -> None:
    pair.clear()
    documents = {b"entity:%d" % number: b"document %d" % number for number in range(300)}
    for client in (pair.real, pair.fake_client):
        client.set(CATALOG, TOKENS[0])
        client.hset(CONFIG, mapping=documents)
    cursor, found = b"0", []
    for _ in range(len(documents)):
        args = [MOMENT, cursor, b"50"]
        status, _, _, version, cursor, *page = pair.fake.run(pair.fake_scripts, "scan", [CATALOG, USAGE, CONFIG], args)
        assert (status, version) == (8, b"")
        found += list(zip(page[::2], page[1::2], strict=True))
        if cursor == b"0":
            break
    assert len(found) == len(documents)
    assert dict(found) == documents
