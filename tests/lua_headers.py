"""Holds the header of a script against its code: `problems` gives one sentence for each thing that differs.

What counts as what: a command is the first argument of `call(…)` or `redis.call(…)`; an argument is `ARGV[n]`, or
`argv[n]` in a shared part that was handed the table; a status is a constant of lib/statuses that the code names, or an
upper-case local behind `return {`; an error code opens the text that `redis.error_reply` is given.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from headgate.scripts import Header, assemble, read_header

# What Redis 6.2, 7, 8 and Valkey share, less what walks a whole keyspace or adds in floating point.
SHARED_COMMANDS = frozenset(
    {
        *("GET", "SET", "DEL", "UNLINK", "EXISTS", "TYPE", "TIME", "PUBLISH"),
        *("EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT", "PERSIST", "TTL", "PTTL"),
        *("HGET", "HMGET", "HSET", "HSETNX", "HDEL", "HLEN", "HEXISTS", "HGETALL", "HKEYS", "HSTRLEN", "HSCAN"),
        *("ZADD", "ZREM", "ZRANGE", "ZRANGEBYSCORE", "ZREMRANGEBYSCORE", "ZCARD", "ZCOUNT", "ZSCORE", "ZMSCORE"),
    }
)

TOKEN = re.compile(
    r"""--[^\n]* | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | [A-Za-z_]\w* | \d+(?:\.\d+)? | \.\.\.? | [=~<>]= | \S""",
    re.VERBOSE,
)
OPERATORS = frozenset({"and", "or", "not"})
OPENING, CLOSING = frozenset("([{"), frozenset(")]}")


def tokens_of(text: str) -> list[str]:
    return [token for token in TOKEN.findall(text) if not token.startswith("--")]


def literal(token: str) -> str | None:
    return token[1:-1] if token[0] in "\"'" else None


def is_operand_end(token: str) -> bool:
    return token not in OPERATORS and (token[0].isalnum() or token[0] in "_\"'" or token in CLOSING)


def local_statements(tokens: list[str]) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Each `local a, b = x, y` as its names and the tokens of its expressions; local functions are left out."""
    for start, token in enumerate(tokens):
        if token != "local" or tokens[start + 1] == "function":
            continue
        position = start + 1
        names = [tokens[position]]
        while tokens[position + 1] == ",":
            position += 2
            names.append(tokens[position])
        if tokens[position + 1 : position + 2] != ["="]:
            continue
        expressions: list[list[str]] = [[]]
        depth = 0
        for token_before, here in zip(tokens[position + 1 :], tokens[position + 2 :], strict=False):
            begins_a_word = here[0].isalpha() and here not in OPERATORS
            if depth == 0 and expressions[-1] and is_operand_end(token_before) and begins_a_word:
                break
            depth += (here in OPENING) - (here in CLOSING)
            if here == "," and depth == 0:
                expressions.append([])
            else:
                expressions[-1].append(here)
        yield names, expressions


def indices(tokens: list[str], table: str) -> tuple[set[int], bool]:
    """The numbers that `table` is indexed with, and whether it is also used without a number."""
    numbers: set[int] = set()
    open_ended = False
    for at, token in enumerate(tokens):
        if token not in (table, table.lower()) or tokens[at - 1] == ".":
            continue
        if tokens[at + 1] == "[" and tokens[at + 2].isdigit() and tokens[at + 3] == "]":
            numbers.add(int(tokens[at + 2]))
        elif tokens[at + 1] == "[" or tokens[at - 1] == "#" or tokens[at - 2 : at] == ["unpack", "("]:
            open_ended = True
    return numbers, open_ended


def called_commands(tokens: list[str]) -> set[str]:
    return {
        name
        for call, bracket, first in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if call == "call" and bracket == "(" and (name := literal(first))
    }


def error_codes(tokens: list[str]) -> set[str]:
    """Codes written in `error_reply("CODE …")`; where it is given a variable, every upper-case text outside a call."""
    codes: set[str] = set()
    outside: set[str] = set()
    from_variable = False
    calls: list[bool] = []
    for at, token in enumerate(tokens):
        if token == "(":
            calls.append(tokens[at - 1] == "call")
        elif token == ")":
            calls.pop()
        elif (text := literal(token)) and not any(calls) and re.fullmatch("[A-Z][A-Z0-9_]{3,}", text):
            outside.add(text)
        elif token == "error_reply":
            if text := literal(tokens[at + 2]):
                codes.add(text.split()[0])
            else:
                from_variable = True
    return codes | outside if from_variable else codes


def returned_statuses(tokens: list[str], *, shared: set[str]) -> dict[int, str]:
    defined = {
        name: int(number)
        for local, name, equals, number in zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False)
        if local == "local" and name.isupper() and equals == "=" and number.isdigit()
    }
    heads = {
        name
        for word, brace, name in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if word == "return" and brace == "{"
    }
    used = {token for before, token in itertools.pairwise(tokens) if before != "local"}
    return {number: name.lower() for name, number in defined.items() if name in used and name in shared | heads}


def problems(name: str, text: str, root: Path) -> list[str]:
    header = read_header(name, text)
    own = tokens_of(text)
    whole = tokens_of(assemble(root, f"lua/{name}.lua", text, clock="server"))
    statuses_file = root / "lib" / "statuses.lua"
    shared = set(tokens_of(statuses_file.read_text())) if statuses_file.is_file() else set()
    return [
        *parameter_problems("KEYS", header, own, whole),
        *parameter_problems("ARGV", header, own, whole),
        *compare("REPLY: status", set(header.statuses), set(returned_statuses(whole, shared=shared).items())),
        *compare("ERRORS: code", set(header.errors), error_codes(whole)),
        *compare("COST: command", set(header.commands), called_commands(whole)),
        *(
            f"{command} is not shared by Redis 6.2, 7, 8 and Valkey"
            for command in called_commands(whole) - SHARED_COMMANDS
        ),
        *(f"{word}: a script that fails has to fail" for word in {"pcall", "loadstring"} & set(whole)),
    ]


def compare(what: str, said: set, done: set) -> list[str]:
    return [
        *(f"{what} {item}: the header says it, the code does not; take it out of the header" for item in said - done),
        *(f"{what} {item}: the code does it, the header does not say so; add it to the header" for item in done - said),
    ]


def parameter_problems(table: str, header: Header, own: list[str], whole: list[str]) -> list[str]:
    declared = header.keys if table == "KEYS" else header.argv
    fixed = {parameter.index: parameter.name for parameter in declared if not parameter.open_ended}
    rest = {parameter.name: parameter.index for parameter in declared if parameter.open_ended}
    numbers, open_ended = indices(whole, table)
    found = compare(table, {f"[{index}]" for index in fixed}, {f"[{index}]" for index in numbers})
    found += compare(table, {"[n..]"} if rest else set(), {"[n..]"} if open_ended else set())
    for names, expressions in local_statements(own):
        for name, expression in zip(names, expressions, strict=False):
            here, _ = indices(["", *expression, "", ""], table)
            found += [
                f"{table}[{n}] is {fixed.get(n)} in the header, {name} in the code"
                for n in here
                if fixed.get(n) != name
            ]
            if table == "ARGV" and name in rest and expression != [str(rest[name])]:
                found.append(f"ARGV [{rest[name]}..] {name}: the code has it begin at {' '.join(expression)}")
    return found
