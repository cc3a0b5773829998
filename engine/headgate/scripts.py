"""The Lua scripts as they are sent to Redis: found, put together, hashed, and their headers read. Nothing is sent here.

A verb is one file, `lua/<verb>.lua`. A line `-- @include lib/<part>` puts `lua/lib/<part>.lua` in its place, once a
script however often it is named; parts may include parts. `lib/clock` stands for `lib/clock_server` (the server's own
time) or `lib/clock_given` (the caller's: simulated environments), so a script that takes a given time has another SHA.

Where the files are looked for, in this order:

1. the checkout: when this package lies in `<checkout>/engine/headgate`, `<checkout>/lua` is used, so that an edited
   script counts without installing again, and a copy made by an editable install never does;
2. the package: `headgate/lua`, as the wheel carries it, unpacked or inside a zip.

The header of a script (its first block of comments) is data: `read_header` parses it, and the tests hold it against
the code below it. A file that breaks the format raises `BrokenScript`, which names the file and the rule.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

Clock = Literal["server", "given"]

SECTIONS = ("FLAGS", "KEYS", "ARGV", "REPLY", "ERRORS", "COST")
KNOWN_FLAGS = ("no-writes", "allow-oom", "allow-stale", "no-cluster")
NONE = "(none)"

_INCLUDE = re.compile(r"^-- @include (\S+)[ \t]*$", re.MULTILINE)
_PART = re.compile(r"^lib/[a-z][a-z_]*$")
_SECTION = re.compile(r"^-- ([A-Z]+)(?:\s+(.*))?$")
_PARAMETER = re.compile(r"^\[(\d+)(\.\.)?\]\s+(\S+)(?:\s+(\S+))?(?:\s+(.*))?$")
_STATUS = re.compile(r"^(\d+) ([a-z][a-z_]*(?: [a-z][a-z_]*)?)$")
_ERROR_CODE = re.compile(r"^([A-Z][A-Z0-9_]+)(?:\s|$)")
_COLUMNS = re.compile(r"\s{2,}")


class BrokenScript(Exception):
    """A Lua file of Headgate's own breaks the format that the loader reads: mend the file that the message names."""

    def __init__(self, file: str, rule: str) -> None:
        super().__init__(f"{file}: {rule}")
        self.file = file
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key or argument of a script, as its header declares it; an open-ended one stands for all that follow."""

    index: int
    name: str
    kind: str
    meaning: str
    open_ended: bool


@dataclass(frozen=True, slots=True)
class Header:
    """What a script says of itself: flags, keys, arguments, reply, errors and cost, in the order of the file."""

    summary: str
    flags: tuple[str, ...]
    keys: tuple[Parameter, ...]
    argv: tuple[Parameter, ...]
    reply: str
    statuses: tuple[tuple[int, str], ...]
    errors: tuple[str, ...]
    commands: tuple[str, ...]
    cost: str


@dataclass(frozen=True, slots=True)
class Script:
    """One script, ready for SCRIPT LOAD and EVALSHA: `source` is what is sent, and `sha1` is that of its bytes."""

    name: str
    source: bytes
    sha1: str
    header: Header


class ScriptSet:
    """All scripts of one build, by name: `scripts["consume"]` or `scripts.consume`; iterating gives each `Script`."""

    __slots__ = ("_by_name", "clock", "server_supports_flags")

    def __init__(self, by_name: Mapping[str, Script], *, clock: Clock, server_supports_flags: bool) -> None:
        self._by_name = dict(by_name)
        self.clock = clock
        self.server_supports_flags = server_supports_flags

    def __getitem__(self, name: str) -> Script:
        return self._by_name[name]

    def __getattr__(self, name: str) -> Script:
        if name.startswith("_") or name not in self._by_name:
            raise AttributeError(f"there is no script lua/{name}.lua")
        return self._by_name[name]

    def __iter__(self) -> Iterator[Script]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)


def lua_root() -> Traversable:
    """Return the folder that holds the scripts: the checkout's `lua/` in a checkout, else the package's own."""
    package_folder = Path(__file__).parent
    checkout_lua = package_folder.parent.parent / "lua"
    if package_folder.parent.name == "engine" and checkout_lua.is_dir():
        return checkout_lua
    return files(__package__).joinpath("lua")


def load_scripts(
    root: Traversable | None = None,
    *,
    clock: Clock = "server",
    server_supports_flags: bool = False,
    prelude: str = "",
) -> ScriptSet:
    """Load every script of one build, by name; a broken file raises `BrokenScript`.

    `server_supports_flags` (Redis 7 on) puts the line `#!lua` and its flags in front, which changes the SHA and shifts
    line numbers by one. `prelude` is Lua put before each body: test builds use it to guard the keys.
    """
    folder = lua_root() if root is None else root
    scripts = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name, dot, ending = file.name.partition(".")
        if dot and ending == "lua":
            text = file.read_text(encoding="utf-8")
            header = read_header(name, text)
            body = prelude + assemble(folder, f"lua/{file.name}", text, clock=clock)
            source = (_first_line(header) + body if server_supports_flags else body).encode()
            scripts[name] = Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest(), header)
    if not scripts:
        raise BrokenScript(str(folder), "holds no script; install headgate again, or take a whole checkout")
    return ScriptSet(scripts, clock=clock, server_supports_flags=server_supports_flags)


def assemble(root: Traversable, file: str, text: str, *, clock: Clock) -> str:
    """Put the shared parts that `text` names in place of its `-- @include` lines, each part once."""
    included: set[str] = set()

    def expand(file: str, text: str, within: tuple[str, ...]) -> str:
        def put_in_place(line: re.Match[str]) -> str:
            part = line[1]
            if not _PART.match(part):
                raise BrokenScript(file, f"cannot include {part!r}: write lib/<part>, a file of lua/lib without .lua")
            if part == "lib/clock":
                part = f"lib/clock_{clock}"
            if part in within:
                raise BrokenScript(file, f"includes itself: {' -> '.join((*within, part))}; break the cycle")
            if part in included:
                return f"-- {part} is above"
            part_file = root.joinpath(*f"{part}.lua".split("/"))
            if not part_file.is_file():
                raise BrokenScript(file, f"includes {part}, and there is no lua/{part}.lua")
            expanded = expand(f"lua/{part}.lua", part_file.read_text(encoding="utf-8"), (*within, part))
            included.add(part)
            return f"-- {part}\n{expanded.rstrip()}"

        return _INCLUDE.sub(put_in_place, text)

    return expand(file, text, ())


def read_header(name: str, text: str) -> Header:
    """Parse the first block of comments of `lua/<name>.lua`; a missing or misplaced section raises `BrokenScript`."""
    file = f"lua/{name}.lua"
    lines = _header_lines(text)
    title = f"-- {name}: "
    if not lines or not lines[0].startswith(title) or not lines[0][len(title) :].strip():
        raise BrokenScript(file, f"has to open with {title!r} and what it does, in one sentence")
    sections = _sections(file, lines[1:])
    flags = _listed(sections["FLAGS"])
    if unknown := [flag for flag in flags if flag not in KNOWN_FLAGS]:
        raise BrokenScript(file, f"FLAGS: {unknown[0]!r} is none of {', '.join(KNOWN_FLAGS)}, {NONE}")
    commands, colon, _ = " ".join(sections["COST"]).partition(":")
    if not colon:
        raise BrokenScript(file, "COST: write the commands first, then a colon: 'GET, HSET: 2 calls, O(1)'")
    return Header(
        summary=lines[0][len(title) :].strip(),
        flags=flags,
        keys=_parameters(file, "KEYS", sections["KEYS"]),
        argv=_parameters(file, "ARGV", sections["ARGV"]),
        reply="\n".join(sections["REPLY"]),
        statuses=_statuses(file, sections["REPLY"]),
        errors=_error_codes(sections["ERRORS"]),
        commands=tuple(command.strip() for command in commands.split(",")),
        cost="\n".join(sections["COST"]),
    )


def _first_line(header: Header) -> str:
    return f"#!lua flags={','.join(header.flags)}\n" if header.flags else "#!lua\n"


def _header_lines(text: str) -> list[str]:
    lines = []
    for line in text.splitlines():
        if not line.startswith("--") or _INCLUDE.match(line):
            break
        lines.append(line)
    return lines


def _sections(file: str, lines: list[str]) -> dict[str, list[str]]:
    """Return the rows of each section, without comment signs; text above the first section belongs to nobody."""
    sections: dict[str, list[str]] = {}
    rows: list[str] | None = None
    for line in lines:
        match = _SECTION.match(line)
        if match and match[1] in SECTIONS:
            if match[1] in sections:
                raise BrokenScript(file, f"{match[1]} is there twice; a header has each section once")
            rows = sections[match[1]] = []
            if match[2]:
                rows.append(match[2].strip())
        elif rows is not None and (row := line[2:].strip()):
            rows.append(row)
    if tuple(sections) != SECTIONS:
        found = ", ".join(sections) or "none"
        raise BrokenScript(file, f"the header needs the sections {', '.join(SECTIONS)}, in this order; found {found}")
    if empty := [section for section, rows in sections.items() if not rows]:
        raise BrokenScript(file, f"{empty[0]} is empty; write {NONE} if there is nothing to say")
    return sections


def _listed(rows: list[str]) -> tuple[str, ...]:
    first_column = _COLUMNS.split(rows[0])[0]
    return () if first_column == NONE else tuple(item.strip() for item in first_column.split(","))


def _parameters(file: str, section: str, rows: list[str]) -> tuple[Parameter, ...]:
    parameters: list[Parameter] = []
    if rows[0].startswith(NONE):
        return ()
    for row in rows:
        match = _PARAMETER.match(row)
        if match is None:
            if row.startswith("[") or not parameters:
                raise BrokenScript(file, f"{section}: {row!r} is not '[1] name  type  meaning' or '[2..] name  type …'")
            parameters[-1] = replace(parameters[-1], meaning=f"{parameters[-1].meaning} {row}")
            continue
        expected = len(parameters) + 1
        if int(match[1]) != expected:
            raise BrokenScript(file, f"{section}: [{match[1]}] stands where [{expected}] should; count from 1, no gaps")
        if parameters and parameters[-1].open_ended:
            raise BrokenScript(file, f"{section}: [{expected}] follows an open-ended entry, which has to be the last")
        parameters.append(Parameter(expected, match[3], match[4] or "", match[5] or "", bool(match[2])))
    return tuple(parameters)


def _statuses(file: str, rows: list[str]) -> tuple[tuple[int, str], ...]:
    """Find `1 granted, 2 refused` in the REPLY rows, outside of brackets and parentheses."""
    statuses: dict[int, str] = {}
    for row in rows:
        for item in re.split(r"[,;]|\s{2,}", re.sub(r"\{[^}]*\}|\([^)]*\)", "", row)):
            match = _STATUS.match(item.strip())
            if match is None:
                continue
            if int(match[1]) in statuses:
                raise BrokenScript(file, f"REPLY: status {match[1]} is there twice")
            statuses[int(match[1])] = match[2].replace(" ", "_")
    return tuple(sorted(statuses.items()))


def _error_codes(rows: list[str]) -> tuple[str, ...]:
    return tuple(match[1] for row in rows if (match := _ERROR_CODE.match(row)))
