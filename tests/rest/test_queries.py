"""Query parameters: what is read of each kind, and what is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import Request

from headgate.errors import InvalidInput
from headgate.rest import queries
from headgate.rest.queries import Parameter


def asked(query: str) -> Request:
    return Request({"type": "http", "query_string": quote(query, safe="=&%+[]").encode(), "headers": []})


@pytest.mark.parametrize(
    ("read", "query", "value"),
    [
        (queries.text, "a=x", "x"),
        (queries.text, "a=", ""),
        (queries.text, "a=x+y%2Cz", "x y,z"),
        (queries.identifier, "a=cus-acme", "cus-acme"),
        (queries.strings, "a=x,y", ["x", "y"]),
        (queries.strings, "a=x&a=y,z", ["x", "y", "z"]),
        (queries.strings, "a=x%2Cy", ["x", "y"]),
        (queries.strings, "a=", []),
        (queries.identifiers, "a=x,y", ["x", "y"]),
        (queries.integer, "a=-12", -12),
        (queries.number, "a=0.1", Decimal("0.1")),
        (queries.number, "a=-1e3", Decimal(-1000)),
        (queries.flag, "a=true", True),
        (queries.flag, "a=false", False),
        (queries.moment, "a=2026-03-10T12:00:00Z", datetime(2026, 3, 10, 12, tzinfo=UTC)),
        (queries.moment, "a=2026-03-10T12:00:00", datetime(2026, 3, 10, 12, tzinfo=UTC)),
        (queries.moment, "a=2026-03-10T14:00:00.5%2B02:00", datetime(2026, 3, 10, 12, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_a_parameter_is_read_as_it_was_meant(read: Callable[[Request, str], Any], query: str, value: object) -> None:
    found = read(asked(query), "a")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("read", [queries.text, queries.identifier, queries.integer, queries.number, queries.moment])
def test_a_parameter_that_is_not_given_is_none(read: Callable[[Request, str], Any]) -> None:
    assert read(asked("b=1"), "a") is None
    assert (queries.flag(asked(""), "a"), queries.choice(asked(""), "a", ["x"])) == (None, None)
    assert (queries.strings(asked(""), "a"), queries.dimensions(asked(""))) == ([], None)


@pytest.mark.parametrize(
    ("read", "query", "rule"),
    [
        (queries.text, "a=x&a=y", "is given more than once"),
        (queries.identifier, "a=x/y", "an id has"),
        (queries.identifiers, "a=x,-y", "an id has"),
        (queries.strings, "a=x,,y", "has an empty item"),
        (queries.strings, "a=,", "has an empty item"),
        (queries.integer, "a=1.0", "must be a whole number"),
        (queries.integer, "a=", "must be a whole number"),
        (queries.integer, "a=%D9%A1", "must be a whole number"),
        (queries.number, "a=0x10", "must be a number"),
        (queries.number, "a=Infinity", "must be a number"),
        (queries.number, "a=1e999", "must be a number"),
        (queries.flag, "a=True", "must be true or false"),
        (queries.flag, "a=1", "must be true or false"),
        (queries.moment, "a=1773144000", "must be an instant"),
        (queries.moment, "a=2026-03-10T12:00:00+02:00", "a + is written %2B in a query"),
    ],
)
def test_a_parameter_that_can_not_be_read_is_refused_by_name(
    read: Callable[[Request, str], Any], query: str, rule: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(asked(query), "a")
    (problem,) = caught.value.problems
    assert (problem.field, rule in problem.rule) == ("a", True), problem


@pytest.mark.parametrize(
    ("bounds", "rule"),
    [
        ({"least": 1, "most": 9}, "must be 1 to 9"),
        ({"least": 11}, "must be at least 11"),
        ({"most": 9}, "must be at most 9"),
    ],
)
def test_a_whole_number_out_of_its_bounds_is_refused(bounds: dict[str, int], rule: str) -> None:
    with pytest.raises(InvalidInput, match=rule):
        queries.integer(asked("a=10"), "a", **bounds)


def test_one_of_a_few_words_is_read_and_any_other_is_refused() -> None:
    assert queries.choice(asked("a=asc"), "a", ["asc", "desc"]) == "asc"
    with pytest.raises(InvalidInput, match="must be one of asc, desc"):
        queries.choice(asked("a=up"), "a", ["asc", "desc"])


def test_dimensions_are_read_by_their_keys() -> None:
    query = "dimensions[teamId]=team-eng&dimensions[note]=a b,c&dimensions%5BuserId%5D=&other=1"
    assert queries.dimensions(asked(query)) == {"teamId": "team-eng", "note": "a b,c", "userId": ""}


@pytest.mark.parametrize(
    "name", ["dimensions", "dimensions[]", "dimensions[a", "dimensions[a]b", "dimensions[a][b]", "dimensions.a"]
)
def test_a_dimension_that_is_written_otherwise_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        queries.dimensions(asked(f"{name}=x"))
    assert [problem.field for problem in caught.value.problems] == [name]


def test_every_parameter_that_is_not_known_is_named() -> None:
    request = asked("a=1&b=2&c=3&dimensions[x]=4&dimension[x]=5")
    with pytest.raises(InvalidInput) as caught:
        queries.known_only(request, ["a"], prefixes=[queries.DIMENSIONS])
    assert [problem.field for problem in caught.value.problems] == ["b", "c", "dimension[x]"]
    queries.known_only(asked("a=1&a=2"), ["a"])
    with pytest.raises(InvalidInput):
        queries.known_only(asked("a=1"), [])


def test_parameters_are_documented_in_the_words_of_openapi() -> None:
    shown = queries.documented(
        Parameter("ids", "which", is_list=True),
        Parameter("dimensions", "what for", "object"),
        Parameter("until", "when", "date-time"),
    )["parameters"]
    assert [(each["name"], each["in"], each["required"]) for each in shown] == [
        ("ids", "query", False),
        ("dimensions", "query", False),
        ("until", "query", False),
    ]
    assert shown[0]["schema"] == {"type": "array", "items": {"type": "string"}}
    assert (shown[1]["style"], shown[1]["schema"]["type"]) == ("deepObject", "object")
    assert shown[2]["schema"] == {"type": "string", "format": "date-time"}
