"""The loader puts scripts together as documented, and every header says exactly what the code below it does."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lupa.lua51 import LuaRuntime

from headgate.scripts import BrokenScript, Header, load_scripts, lua_root, read_header
from lua_headers import problems, tokens_of

LUA = Path(__file__).parents[2] / "lua"
VERBS = sorted(LUA.glob("*.lua"))
PARTS = sorted(LUA.glob("lib/*.lua"))

TINY = {
    "spend.lua": """\
-- spend: add an amount to a counter, if the limit allows it.
--
-- FLAGS  allow-oom                 it gives memory back
-- KEYS
--   [1] usage     hash             the counters
--   [2..] buckets  hash            further counters
-- ARGV
--   [1] field     string           whose counter
--   [2] amount    number           how much, at most what the limit of the
--                                  feature allows
-- REPLY
--   {status, used}                 1 granted (the sum), 2 refused
-- ERRORS
--   OUT_OF_RANGE                   the sum is no exact number
-- COST
--   TIME, HGET, HSET: 3 calls and 1 for each bucket
-- @include lib/statuses
-- @include lib/sum
-- @include lib/clock
-- @include lib/statuses

local usage, field = KEYS[1], ARGV[1]
local amount = tonumber(ARGV[2])
local call = redis.call
local used = sum(redis.call('HGET', usage, field) or 0, amount)
if used > 100 then return { REFUSED, used } end
if used ~= used then return redis.error_reply("OUT_OF_RANGE the sum is no number") end
for bucket = 2, #KEYS do call('HSET', KEYS[bucket], field, clock_now_ms(call)) end
return {GRANTED, used}
""",
    "lib/statuses.lua": "-- Statuses.\nlocal GRANTED = 1\nlocal REFUSED = 2\nlocal DONE = 8\n",
    "lib/sum.lua": "-- Sums.\n-- @include lib/statuses\nlocal function sum(a, b) return a + b end\n",
    "lib/clock_server.lua": "-- The server's.\nlocal function clock_now_ms(call) return call('TIME')[1] end\n",
    "lib/clock_given.lua": "-- The caller's.\nlocal function clock_now_ms(_, given_ms) return given_ms end\n",
}


def write(folder: Path, changes: dict[str, str]) -> Path:
    for name, text in (TINY | changes).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


# Changes to a header that its code does not share.


def in_section(section: str, change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        lines = text.splitlines()
        start = next(at for at, line in enumerate(lines) if line.startswith(f"-- {section}")) + 1
        end = next(at for at, line in enumerate(lines) if at >= start and not line.startswith("--  "))
        return "\n".join([*lines[:start], *change(lines[start:end]), *lines[end:]]) + "\n"

    return changed


def entries(rows: list[str]) -> list[int]:
    return [at for at, row in enumerate(rows) if row.startswith("--   [")]


def one_parameter_more(rows: list[str]) -> list[str]:
    starts = entries(rows)
    extra = f"--   [{len(starts)}] extra  string  one too many"
    if starts and ".." in rows[starts[-1]].split("]")[0]:
        last = rows[starts[-1]].replace(f"[{len(starts)}..]", f"[{len(starts) + 1}..]")
        return [*rows[: starts[-1]], extra, last, *rows[starts[-1] + 1 :]]
    return [*(rows if starts else []), extra.replace(f"[{len(starts)}]", f"[{len(starts) + 1}]")]


def one_parameter_less(rows: list[str]) -> list[str]:
    return rows[: entries(rows)[-1]] or ["--   (none)"]


MORE = {
    "a key more": in_section("KEYS", one_parameter_more),
    "an argument more": in_section("ARGV", one_parameter_more),
    "a status more": in_section("REPLY", lambda rows: [*rows, "--   99 never_returned"]),
    "an error more": in_section("ERRORS", lambda rows: [*rows, "--   NEVER_RAISED  by nobody"]),
    "a command more": in_section("COST", lambda rows: [rows[0].replace("--   ", "--   APPEND, ", 1), *rows[1:]]),
}
LESS: dict[str, tuple[Callable[[Header], object], Callable[[str], str]]] = {
    "a key less": (lambda header: header.keys, in_section("KEYS", one_parameter_less)),
    "an argument less": (lambda header: header.argv, in_section("ARGV", one_parameter_less)),
    "a status less": (
        lambda header: header.statuses,
        in_section("REPLY", lambda rows: re.sub(r"\b\d+ [a-z_]+", "", "\n".join(rows), count=1).splitlines()),
    ),
    "an error less": (
        lambda header: header.errors,
        in_section("ERRORS", lambda rows: ["--   (none)", *rows[1:]]),
    ),
    "a command less": (
        lambda header: len(header.commands) > 1,
        in_section("COST", lambda rows: [re.sub(r"[A-Z]+, ", "", rows[0], count=1), *rows[1:]]),
    ),
}
CHANGES = MORE | {name: change for name, (_, change) in LESS.items()}


def applicable_changes() -> Iterator[object]:
    for file in VERBS:
        text = file.read_text()
        header = read_header(file.stem, text)
        for name, change in CHANGES.items():
            if name in MORE or LESS[name][0](header):
                yield pytest.param(file, change, id=f"{file.stem}, {name}")


@pytest.mark.parametrize("file", VERBS, ids=lambda file: file.stem)
def test_every_header_says_what_its_code_does(file: Path) -> None:
    assert problems(file.stem, file.read_text(), LUA) == []


@pytest.mark.parametrize(("file", "change"), list(applicable_changes()))
def test_a_header_with_one_thing_too_many_or_too_few_fails(file: Path, change: Callable[[str], str]) -> None:
    assert problems(file.stem, change(file.read_text()), LUA) != []


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_header_check_notices_each_kind_of_change(tmp_path: Path, change: Callable[[str], str]) -> None:
    root = write(tmp_path, {})
    assert problems("spend", TINY["spend.lua"], root) == []
    assert len(problems("spend", change(TINY["spend.lua"]), root)) >= 1


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[1] field ", "[1] whose ", "ARGV[1] is whose in the header, field in the code"),
        ("[2] amount ", "[2] value ", "ARGV[2] is value in the header, amount in the code"),
        ("1 granted", "3 granted", "REPLY: status (1, 'granted'): the code does it"),
        ("call('HSET'", "call('HGETEX'", "HGETEX is not shared by"),
        ("call('HSET'", "call('HSET', ARGV[3]", "ARGV [3]: the code does it"),
        ("return {GRANTED,", "return {DONE,", "REPLY: status (8, 'done'): the code does it"),
        ('"OUT_OF_RANGE the', '"NO_NUMBER the', "ERRORS: code NO_NUMBER: the code does it"),
        ("used = sum(redis.call(", "used = sum(redis.pcall(", "pcall: a script that fails has to fail"),
        ("= 2, #KEYS do", "= 2, 2 do local buckets = KEYS[2]", "KEYS[2] is None in the header, buckets in the code"),
    ],
)
def test_the_header_check_names_what_differs(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    text = TINY["spend.lua"]
    assert old in text
    assert any(complaint in problem for problem in problems("spend", text.replace(old, new), write(tmp_path, {})))


@pytest.mark.parametrize("file", PARTS, ids=lambda file: file.stem)
def test_a_shared_part_touches_no_keys_arguments_or_server_and_leaves_no_global(file: Path) -> None:
    text = file.read_text()
    assert not {"KEYS", "ARGV", "redis"} & set(tokens_of(text)), f"{file.name}: hand it over as an argument"
    lua = LuaRuntime()
    lua.execute("struct, cmsgpack, cjson, bit = {}, {}, {}, {}")
    names_before = set(lua.globals())
    lua.execute(text)
    assert set(lua.globals()) == names_before, f"{file.name}: write `local function` and `local`"


@pytest.mark.parametrize("clock", ["server", "given"])
def test_every_script_is_lua_5_1(clock: str) -> None:
    compiles = LuaRuntime().eval("function(text) return loadstring(text) end")
    for script in load_scripts(clock=clock):
        assert compiles(script.source.decode()), f"lua/{script.name}.lua, clock {clock}, does not compile"


def test_the_checkout_is_where_scripts_come_from_in_a_checkout() -> None:
    assert lua_root() == LUA
    assert [script.name for script in load_scripts()] == [file.stem for file in VERBS]


def test_a_header_is_read_into_its_parts(tmp_path: Path) -> None:
    header = load_scripts(write(tmp_path, {})).spend.header
    assert header.summary == "add an amount to a counter, if the limit allows it."
    assert header.flags == ("allow-oom",)
    assert [(key.index, key.name, key.kind, key.open_ended) for key in header.keys] == [
        (1, "usage", "hash", False),
        (2, "buckets", "hash", True),
    ]
    assert [argument.name for argument in header.argv] == ["field", "amount"]
    assert header.argv[1].meaning == "how much, at most what the limit of the feature allows"
    assert header.statuses == ((1, "granted"), (2, "refused"))
    assert header.errors == ("OUT_OF_RANGE",)
    assert header.commands == ("TIME", "HGET", "HSET")


def test_what_is_sent_is_hashed_byte_for_byte(tmp_path: Path) -> None:
    changed = TINY["spend.lua"].replace("if the limit allows it", "below ∞")
    script = load_scripts(write(tmp_path, {"spend.lua": changed}))["spend"]
    assert "∞".encode() in script.source
    assert script.sha1 == hashlib.sha1(script.source).hexdigest()


def test_each_part_is_put_in_once_in_the_place_that_first_names_it(tmp_path: Path) -> None:
    source = load_scripts(write(tmp_path, {}))["spend"].source.decode()
    assert source.count("local GRANTED = 1") == 1
    assert source.count("local function sum") == 1
    assert source.index("local GRANTED") < source.index("local function sum") < source.index("local usage")


def test_the_clock_is_part_of_the_build_and_of_the_hash(tmp_path: Path) -> None:
    no_clock = TINY["spend.lua"].replace("-- @include lib/clock\n", "").replace("-- spend:", "-- plain:")
    root = write(tmp_path, {"plain.lua": no_clock})
    server, given = load_scripts(root, clock="server"), load_scripts(root, clock="given")
    assert b"call('TIME')" in server.spend.source
    assert b"return given_ms" in given.spend.source
    assert b"call('TIME')" not in given.spend.source
    assert server.spend.sha1 != given.spend.sha1
    assert server.plain.sha1 == given.plain.sha1


@pytest.mark.parametrize(
    ("flags", "first_line"),
    [
        ("(none)", "#!lua"),
        ("no-writes      it only reads", "#!lua flags=no-writes"),
        ("no-writes, allow-oom", "#!lua flags=no-writes,allow-oom"),
    ],
)
def test_flags_are_put_in_front_only_where_the_server_knows_them(tmp_path: Path, flags: str, first_line: str) -> None:
    text = re.sub("-- FLAGS .*", f"-- FLAGS  {flags}", TINY["spend.lua"])
    root = write(tmp_path, {"spend.lua": text})
    plain = load_scripts(root)["spend"].source.decode()
    flagged = load_scripts(root, server_supports_flags=True)["spend"].source.decode()
    assert plain.startswith("-- spend: ")
    assert flagged == f"{first_line}\n{plain}"


def test_a_test_build_puts_its_own_lua_before_the_body_and_after_the_flags(tmp_path: Path) -> None:
    scripts = load_scripts(write(tmp_path, {}), server_supports_flags=True, prelude="local redis = guarded\n")
    assert scripts.spend.source.startswith(b"#!lua flags=allow-oom\nlocal redis = guarded\n-- spend: ")


def test_an_edited_script_is_seen_by_the_next_load(tmp_path: Path) -> None:
    before = load_scripts(write(tmp_path, {}))["spend"]
    after = load_scripts(write(tmp_path, {"lib/sum.lua": TINY["lib/sum.lua"].replace("a + b", "b + a")}))["spend"]
    assert b"return b + a" in after.source
    assert after.sha1 != before.sha1


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    scripts = load_scripts(write(tmp_path, {}))
    assert [script.name for script in scripts] == ["spend"]
    assert len(scripts) == 1
    with pytest.raises(AttributeError, match=re.escape("there is no script lua/spent.lua")):
        _ = scripts.spent
    with pytest.raises(KeyError, match="spent"):
        _ = scripts["spent"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("lib/sum.lua", "@include lib/statuses", "@include lib/sum", "includes itself: lib/sum -> lib/sum"),
        ("lib/statuses.lua", "-- Statuses.", "-- @include lib/sum", "lib/statuses -> lib/sum -> lib/statuses"),
        ("spend.lua", "@include lib/sum", "@include lib/some", "and there is no lua/lib/some.lua"),
        ("spend.lua", "@include lib/sum", "@include lib/../../etc", "cannot include 'lib/../../etc'"),
        ("spend.lua", "-- spend:", "-- spent:", "has to open with '-- spend: '"),
        ("spend.lua", "-- spend:", "local a = 1 -- spend:", "has to open with '-- spend: '"),
        ("spend.lua", "-- ERRORS\n", "-- MISTAKES\n", "found FLAGS, KEYS, ARGV, REPLY, COST"),
        ("spend.lua", "-- ERRORS\n", "-- FLAGS\n", "FLAGS is there twice"),
        ("spend.lua", "--   OUT_OF_RANGE                   the sum is no exact number\n", "", "ERRORS is empty"),
        ("spend.lua", "allow-oom ", "allow-ooms ", "'allow-ooms' is none of"),
        ("spend.lua", "[2] amount", "[3] amount", "ARGV: [3] stands where [2] should"),
        ("spend.lua", "[1] field", "[1..] field", "ARGV: [2] follows an open-ended entry"),
        ("spend.lua", "[1] field", "[one] field", "ARGV: '[one] field"),
        ("spend.lua", "2 refused", "1 refused", "REPLY: status 1 is there twice"),
        ("spend.lua", "HSET: 3 calls", "HSET and 3 calls", "write the commands first"),
    ],
)
def test_a_file_that_breaks_the_format_is_named_with_the_rule(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    assert old in TINY[file]
    root = write(tmp_path, {file: TINY[file].replace(old, new)})
    with pytest.raises(BrokenScript, match=re.escape(message)) as caught:
        load_scripts(root)
    assert str(caught.value).startswith("lua/")


def test_a_folder_without_scripts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BrokenScript, match="holds no script"):
        load_scripts(tmp_path)
