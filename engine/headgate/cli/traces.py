"""Read a trace of calls from a CSV file: when each was made, how much it asks for, and what it says about who asks.

What it promises: a file with anything wrong in it is refused whole, with the line of every problem; a file that is
accepted needs no further look. Nothing here knows a policy or a server.

The columns, by name and in any order:

- `TIMESTAMP`, needed: `2023-11-16 18:17:03.9799600`, with a `T` or a space, any number of decimals, and an offset or
  none (then it is UTC). It is cut to whole milliseconds.
- `ContextTokens` and `GeneratedTokens`, whole numbers whose sum is the amount; or `amount`, which goes before them.
- `customer`, an id, and the dimension keys that the caller names (`teamId`, `modelId` …): optional, as is every cell
  of theirs. Other columns are left out; `Trace.ignored` names them.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TextIO

from headgate.amounts import parse_amount
from headgate.errors import InvalidInput, Problem
from headgate.model.ids import ID_RULE, is_id

FOLDER_VARIABLE = "HEADGATE_TRACES"
PROBLEMS_SHOWN_MAX = 20

TIMESTAMP = "TIMESTAMP"
TOKENS = ("ContextTokens", "GeneratedTokens")
AMOUNT = "amount"
CUSTOMER = "customer"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP_PATTERN = re.compile(
    r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})(?:\.(\d+))?\s?(Z|[+-]\d{2}:?\d{2})?", re.ASCII
)
_TIMESTAMP_RULE = "write an instant such as 2023-11-16 18:17:03.9799600, in UTC where no offset is given"
_TOKENS_PATTERN = re.compile(r"\d{1,15}", re.ASCII)
_TOKENS_RULE = "write a whole number of at least 0"
_AMOUNT_PATTERN = re.compile(r"\d{1,16}(\.\d+)?", re.ASCII)
_AMOUNT_RULE = "write a number of at least 0, such as 1250 or 0.5"


@dataclass(frozen=True, slots=True)
class TracedCall:
    """One row: `line` is where its row ends in the file (the header is line 1), `row` counts rows from 1."""

    row: int
    line: int
    at_ms: int
    amount: float | int
    customer: str | None
    dimensions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Trace:
    """A file's calls in its order, of which there is at least one, and the columns that say nothing to us."""

    path: Path
    calls: Sequence[TracedCall]
    ignored: tuple[str, ...]

    @property
    def first_ms(self) -> int:
        """The instant of the first call in the file."""
        return self.calls[0].at_ms


def find_trace(path: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the path if there is a file, else the file of that path in the folder that `HEADGATE_TRACES` names."""
    if path.is_file():
        return path
    folder = environment.get(FOLDER_VARIABLE, "")
    if folder and Path(folder, path).is_file():
        return Path(folder, path)
    looked = f"there is no such file, and none in {FOLDER_VARIABLE}={folder}" if folder else "there is no such file"
    raise InvalidInput.of("trace", str(path), f"{looked}; name one, or the folder of traces in {FOLDER_VARIABLE}")


def read_trace(path: Path, *, dimension_keys: Collection[str] = (), rows_max: int | None = None) -> Trace:
    """Read the whole file, or its first `rows_max` rows; raise `InvalidInput` with the line of every problem."""
    problems: list[Problem] = []
    calls: list[TracedCall] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns, ignored = _read_header(path, file, frozenset(dimension_keys))
            for call in _read_rows(path, file, columns, problems):
                calls.append(call)
                if rows_max is not None and len(calls) >= rows_max:
                    break
    except OSError as error:
        raise InvalidInput.of("trace", str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidInput.of("trace", str(path), f"is not text in UTF-8 (byte {error.start} of a block)") from None
    if problems:
        raise InvalidInput(problems)
    if not calls:
        raise InvalidInput.of("trace", str(path), "holds no row below its header: there is nothing to replay")
    return Trace(path, tuple(calls), ignored)


def _read_header(path: Path, file: TextIO, dimension_keys: frozenset[str]) -> tuple[list[str | None], tuple[str, ...]]:
    """Return the name of each column that is read (None for the others), and the names of the others."""
    first = file.readline()
    where = f"{path.name}, line 1"
    names = [name.strip() for name in next(csv.reader([first]), [])]
    if not any(names):
        raise InvalidInput.of(where, first.strip(), f"the first line names the columns, such as {TIMESTAMP},{AMOUNT}")
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput.of(where, doubled[0], "a column is there once")
    has_amount = AMOUNT in names or all(name in names for name in TOKENS)
    if TIMESTAMP not in names or not has_amount:
        rule = f"the columns {TIMESTAMP} and {' and '.join(TOKENS)} are needed; {AMOUNT} may stand for the last two"
        raise InvalidInput.of(where, ",".join(names), rule)
    amounts = (AMOUNT,) if AMOUNT in names else TOKENS
    read = {TIMESTAMP, CUSTOMER, *amounts} | dimension_keys
    return [name if name in read else None for name in names], tuple(name for name in names if name not in read)


def _read_rows(path: Path, file: TextIO, columns: list[str | None], problems: list[Problem]) -> Iterator[TracedCall]:
    """Give the rows that are right; put what is wrong with the others into `problems`, and stop when these are many."""
    reader = csv.reader(file, strict=True)
    row = 0
    try:
        for cells in reader:
            line = reader.line_num + 1  # The header was read before the reader began to count.
            if not cells:
                continue
            row += 1
            where = f"{path.name}, line {line}"
            if len(cells) != len(columns):
                rule = f"the row has {len(cells)} cells, and the header names {len(columns)} columns"
                problems.append(Problem(where, ",".join(cells), rule))
            else:
                named = {name: cell.strip() for name, cell in zip(columns, cells, strict=True) if name is not None}
                call = _read_row(row, line, where, named, problems)
                if call is not None:
                    yield call
            if len(problems) >= PROBLEMS_SHOWN_MAX:
                return
    except csv.Error as error:
        problems.append(Problem(f"{path.name}, line {reader.line_num + 1}", None, f"is not CSV: {error}"))


def _read_row(row: int, line: int, where: str, cells: Mapping[str, str], problems: list[Problem]) -> TracedCall | None:
    found = len(problems)
    at_ms = _instant_ms(cells[TIMESTAMP])
    if at_ms is None:
        problems.append(Problem(f"{where}, {TIMESTAMP}", cells[TIMESTAMP], _TIMESTAMP_RULE))
    amount = _amount(where, cells, problems)
    customer = cells.get(CUSTOMER) or None
    if customer is not None and not is_id(customer):
        problems.append(Problem(f"{where}, {CUSTOMER}", customer, ID_RULE))
    if len(problems) > found or at_ms is None or amount is None:
        return None
    known = {TIMESTAMP, CUSTOMER, AMOUNT, *TOKENS}
    dimensions = {name: cell for name, cell in cells.items() if name not in known and cell}
    return TracedCall(row, line, at_ms, amount, customer, dimensions)


def _instant_ms(text: str) -> int | None:
    """Read a timestamp, cut to whole milliseconds; None where it is none."""
    match = _TIMESTAMP_PATTERN.fullmatch(text)
    if match is None:
        return None
    day, time_of_day, decimals, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time_of_day}{offset or 'Z'}")
        whole_ms = (moment - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None
    at_ms = whole_ms + int(((decimals or "") + "000")[:3])
    return at_ms if at_ms >= 0 else None


def _amount(where: str, cells: Mapping[str, str], problems: list[Problem]) -> float | int | None:
    has_amount = AMOUNT in cells
    pattern, rule = (_AMOUNT_PATTERN, _AMOUNT_RULE) if has_amount else (_TOKENS_PATTERN, _TOKENS_RULE)
    total: float | int = 0
    for name in (AMOUNT,) if has_amount else TOKENS:
        if pattern.fullmatch(cells[name]) is None:
            problems.append(Problem(f"{where}, {name}", cells[name], rule))
            return None
        try:
            value = parse_amount(Decimal(cells[name]), field=name)
        except ValueError as error:
            problems.append(Problem(f"{where}, {name}", cells[name], str(error)))
            return None
        total = value if total == 0 else total + value  # The two token counts are whole.
    return total
