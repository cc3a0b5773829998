"""Bad input is one clear error that names field, value and rule. Nothing is sent for it, and nothing is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from behaviour.targets import BOTH_EDGES, Target
from behaviour.world import ACME, TOKENS, found_chain
from headgate import AsyncHeadgate, Headgate, InvalidInput, Problem, UsageRecord

AnyEngine = Any
Act = Callable[[AnyEngine], Awaitable[object]]

NAN, INFINITY = float("nan"), float("inf")
NEW = {"entity": "team-eng", "feature": TOKENS, "usage_limit": 1, "cadence": "P1D"}
ID_RULE = "an id has 1 to 255 of the characters"
NOT_A_NUMBER = "give an int, a float or a Decimal"


def consume(amount: object) -> Act:
    return lambda engine: engine.consume(ACME, feature=TOKENS, amount=amount)


def check(**given: object) -> Act:
    return lambda engine: engine.check(ACME, **{"feature": TOKENS, **given})


def check_paid(currency: object) -> Act:
    return lambda engine: engine.check(ACME, currency=currency)


def check_as(customer: object) -> Act:
    return lambda engine: engine.check(customer, feature=TOKENS)


def report(**given: object) -> Act:
    return lambda engine: engine.report(ACME, **{"feature": TOKENS, "value": 1, **given})


def batch(records: object) -> Act:
    return lambda engine: engine.report_many(records)


def put_feature(**given: object) -> Act:
    return lambda engine: engine.catalog.put_features([{"id": "f", "feature_type": "NUMBER", **given}])


def put_type(**given: object) -> Act:
    return lambda engine: engine.catalog.put_entity_types([{"id": "team", **given}])


def put_entities(entities: object) -> Act:
    return lambda engine: engine.governance.put_entities(ACME, entities)


def put_assignment(**given: object) -> Act:
    return lambda engine: engine.governance.put_assignments(ACME, [{**NEW, **given}])


def grant(**given: object) -> Act:
    return lambda engine: engine.customers.grant_entitlement(ACME, {"feature": TOKENS, "usage_limit": 1, **given})


RECORD = {"customer": ACME, "feature": TOKENS, "value": 1}

AMOUNTS: list[tuple[str, object, str]] = [
    ("NaN", NAN, "is not a finite number"),
    ("infinity", INFINITY, "is not a finite number"),
    ("minus infinity", -INFINITY, "is not a finite number"),
    ("2^53", 2**53, "whole numbers go to 9007199254740991"),
    ("2^53 as a float", float(2**53), "whole numbers go to 9007199254740991"),
    ("a fraction from 2^35 on", 2.0**35 + 0.5, "fractions stay below 34359738368"),
    ("a bool", True, NOT_A_NUMBER),
    ("a str", "5", NOT_A_NUMBER),
    ("None", None, NOT_A_NUMBER),
    ("a list", [1], NOT_A_NUMBER),
    ("a NaN of Decimal", Decimal("NaN"), "is not a finite number"),
]

IDS: list[tuple[str, object]] = [
    ("empty", ""),
    ("with braces", "cus{1}"),
    ("with a colon", "cus:1"),
    ("with a star", "cus*"),
    ("with a space", "cus 1"),
    ("with a line end", "cus\n"),
    ("not ASCII", "kundé"),
    ("a digit that is not ASCII", "١"),
    ("beginning with a dash", "-cus"),
    ("of 256 characters", "c" * 256),
    ("bytes", b"cus"),
    ("a number", 7),
    ("None", None),
]

# What is done, the fields that are named, and a part of the rule that is told.
LOCAL: dict[str, tuple[Act, list[str], str]] = {
    **{f"consume {name}": (consume(value), ["amount"], rule) for name, value, rule in AMOUNTS},
    **{f"check {name}": (check(requested_usage=value), ["requested_usage"], rule) for name, value, rule in AMOUNTS},
    **{f"report {name}": (report(value=value), ["value"], rule) for name, value, rule in AMOUNTS},
    "consume a negative amount": (consume(-1), ["amount"], "the least is 0"),
    "check a negative amount": (check(requested_usage=-0.5), ["requested_usage"], "the least is 0"),
    "report a negative SET": (report(value=-1, behavior="SET"), ["value"], "the least is 0"),
    **{f"a customer id {name}": (check_as(id), ["customer"], ID_RULE) for name, id in IDS},
    **{f"a feature id {name}": (check(feature=id), ["feature"], ID_RULE) for name, id in IDS if id is not None},
    **{f"a currency id {name}": (check_paid(id), ["currency"], ID_RULE) for name, id in IDS if id is not None},
    **{f"a resource id {name}": (check(resource=id), ["resource"], ID_RULE) for name, id in IDS if id is not None},
    "neither a feature nor a currency": (check(feature=None), ["feature"], "give one of both"),
    "a feature and a currency": (check(currency="currency-credits"), ["feature"], "give one of both"),
    "a report of a feature and a currency": (report(currency="currency-credits"), ["feature"], "give one of both"),
    "a new customer with a bad id": (lambda engine: engine.customers.put("a:b"), ["customer"], ID_RULE),
    "a feature with a bad id": (put_feature(id="a{b}"), ["features[0].id"], ID_RULE),
    "an entity with a bad id": (put_entities([{"id": "é", "type": "team"}]), ["entities[0].id"], ID_RULE),
    "an entity with an empty id": (put_entities([{"id": ""}]), ["entities[0].id"], ID_RULE),
    "a scope with a bad id": (put_assignment(scope=["a:b"]), ["assignments[0].scope[0]"], ID_RULE),
    "a parent with a bad id": (put_assignment(parent="*"), ["assignments[0].parent"], ID_RULE),
    "archiving a bad id": (lambda engine: engine.governance.archive(ACME, ["a", ""]), ["ids[1]"], ID_RULE),
    "archiving a str": (lambda engine: engine.governance.archive(ACME, "team-eng"), ["ids"], "must be a list of ids"),
    "revoking a bad id": (lambda engine: engine.customers.revoke_entitlement(ACME, feature=""), ["feature"], ID_RULE),
    "a tree of a bad id": (lambda engine: engine.governance.tree(ACME, feature="x y"), ["feature"], ID_RULE),
    "dimensions that are a list": (check(dimensions=["teamId"]), ["dimensions"], "must be a mapping"),
    "a dimension that is None": (check(dimensions={"teamId": None}), ["dimensions.teamId"], "a string, a number"),
    "a dimension that is a list": (check(dimensions={"teamId": ["a"]}), ["dimensions.teamId"], "a string, a number"),
    "a dimension's name that is a number": (check(dimensions={1: "a"}), ["dimensions"], "name is a string"),
    "requested values that are a str": (check(requested_values="eu"), ["requested_values"], "sequence of strings"),
    "requested values of numbers": (check(requested_values=[1]), ["requested_values"], "sequence of strings"),
    "an unknown behavior": (report(behavior="ADD"), ["behavior"], "must be DELTA or SET"),
    "a behavior that is None": (report(behavior=None), ["behavior"], "must be DELTA or SET"),
    "a naive timestamp": (report(timestamp=datetime(2026, 3, 10)), ["timestamp"], "with a time zone"),  # noqa: DTZ001
    "a timestamp that is a str": (report(timestamp="2026-03-10"), ["timestamp"], "with a time zone"),
    "a batch of none": (batch([]), ["records"], "a batch has 1 to 100 records"),
    "a batch of 101": (batch([RECORD] * 101), ["records"], "a batch has 1 to 100 records"),
    "a batch that is a str": (batch("records"), ["records"], "a batch has 1 to 100 records"),
    "a batch that is a mapping": (batch(RECORD), ["records"], "a batch has 1 to 100 records"),
    "a record that is a str": (batch(["x"]), ["records[0]"], "must be a UsageRecord or a mapping"),
    "a record with a bad value": (batch([RECORD, {**RECORD, "value": NAN}]), ["records[1].value"], "not a finite"),
    "a record with a bad customer": (batch([{**RECORD, "customer": ""}]), ["records[0].customer"], ID_RULE),
    "a record with a bad dimension": (
        batch([{**RECORD, "dimensions": {"teamId": None}}]),
        ["records[0].dimensions.teamId"],
        "a string, a number",
    ),
    "a record with an unknown field": (batch([{**RECORD, "amount": 1}]), ["records[0].amount"], "unknown field"),
    "a record without its value": (
        batch([{"customer": ACME, "feature": TOKENS}]),
        ["records[0].value"],
        "is required",
    ),
    "a feature with an unknown field": (put_feature(colour="red"), ["features[0].colour"], "unknown field"),
    "a feature of an unknown type": (put_feature(feature_type="FLOAT"), ["features[0].feature_type"], "'BOOLEAN'"),
    "a feature without a type": (
        lambda engine: engine.catalog.put_features([{"id": "f"}]),
        ["features[0].feature_type"],
        "is required",
    ),
    "a feature with a wrong type of field": (put_feature(display_name=5), ["features[0].display_name"], "string"),
    "a metered boolean": (
        put_feature(feature_type="BOOLEAN", meter_type="INCREMENTAL"),
        ["features[0]"],
        "only a feature of type NUMBER is metered",
    ),
    "values of what is no enum": (put_feature(enum_values=["a"]), ["features[0]"], "only a feature of type ENUM"),
    "a feature that is no mapping": (
        lambda engine: engine.catalog.put_features([7]),
        ["features[0]"],
        "Feature",
    ),
    "features that are one mapping": (
        lambda engine: engine.catalog.put_features({"id": "f"}),
        ["features"],
        "must be a list of Feature values",
    ),
    "an entity type with three keys": (
        put_type(attribution_keys=["a", "b", "c"]),
        ["entity_types[0].attribution_keys"],
        "at most 2",
    ),
    "an entity type with one key twice": (
        put_type(attribution_keys=["teamId", "teamId"]),
        ["entity_types[0].attribution_keys"],
        "distinct names",
    ),
    "an entity type with an empty key": (
        put_type(attribution_keys=[""]),
        ["entity_types[0].attribution_keys"],
        "none empty",
    ),
    "no entities": (put_entities([]), ["entities"], "one call takes 1 to 100"),
    "101 entities": (put_entities([{"id": "a"}] * 101), ["entities"], "one call takes 1 to 100"),
    "an entity with an unknown field": (put_entities([{"id": "a", "kind": "b"}]), ["entities[0].kind"], "unknown"),
    "two problems in one entity": (
        put_entities([{"id": "", "type": 5}]),
        ["entities[0].id", "entities[0].type"],
        "",
    ),
    "a negative limit": (put_assignment(usage_limit=-1), ["assignments[0].usage_limit"], "the least is 0"),
    "a limit of NaN": (put_assignment(usage_limit=NAN), ["assignments[0].usage_limit"], "not a finite number"),
    "a limit of infinity": (put_assignment(usage_limit=INFINITY), ["assignments[0].usage_limit"], "not a finite"),
    "a limit of 2^53": (put_assignment(usage_limit=2**53), ["assignments[0].usage_limit"], "whole numbers go to"),
    "a limit that is a bool": (put_assignment(usage_limit=True), ["assignments[0].usage_limit"], NOT_A_NUMBER),
    "a limit that is a str": (put_assignment(usage_limit="5"), ["assignments[0].usage_limit"], NOT_A_NUMBER),
    "a cadence of two units": (put_assignment(cadence="P1M1D"), ["assignments[0].cadence"], "such as PT10M"),
    "a cadence of seconds": (put_assignment(cadence="PT30S"), ["assignments[0].cadence"], ""),
    "a cadence of nothing": (put_assignment(cadence="P0D"), ["assignments[0].cadence"], ""),
    "a cadence that is a word": (put_assignment(cadence="MONTH"), ["assignments[0].cadence"], "such as PT10M"),
    "a zone that is none": (put_assignment(zone="Mars/Olympus"), ["assignments[0].zone"], "zone"),
    "a budget for two capabilities": (put_assignment(currency="c"), ["assignments[0]"], "give one of the two"),
    "a budget for no capability": (put_assignment(feature=None), ["assignments[0]"], "give one of the two"),
    "a budget with an unknown field": (put_assignment(limit=5), ["assignments[0].limit"], "unknown field"),
    "an entitlement with a negative limit": (grant(usage_limit=-5), ["entitlement.usage_limit"], "the least is 0"),
    "an unlimited entitlement with a limit": (grant(has_unlimited_usage=True), ["entitlement"], "an unlimited"),
    "an entitlement with an unknown reset": (grant(reset_period="EON"), ["entitlement.reset_period"], "'HOUR'"),
    "a reset that goes by nothing": (
        grant(reset_according_to="EveryMonday"),
        ["entitlement"],
        "goes with a reset_period",
    ),
    "a monthly reset that goes by a weekday": (
        grant(reset_period="MONTH", reset_according_to="EveryMonday"),
        ["entitlement"],
        "",
    ),
    "an entitlement in a zone that is none": (grant(reset_period="DAY", zone="Nowhere"), ["entitlement.zone"], "zone"),
    "an entitlement with an unknown field": (grant(cap=5), ["entitlement.cap"], "unknown field"),
    "an entitlement that is no mapping": (
        lambda engine: engine.customers.grant_entitlement(ACME, 5),
        ["entitlement"],
        "PromotionalEntitlement",
    ),
    "a customer's name that is a number": (lambda engine: engine.customers.put(ACME, name=5), ["name"], "string"),
    "metadata of numbers": (lambda engine: engine.customers.put(ACME, metadata={"a": 1}), ["metadata.a"], "string"),
    "a policy that is none": (lambda engine: engine.apply({"features": {}}), ["policy"], "must be a Policy"),
}


@pytest.mark.parametrize("target", BOTH_EDGES, indirect=True)
@pytest.mark.parametrize("case", LOCAL)
async def test_what_can_be_known_here_is_refused_before_anything_is_sent(target: Target, case: str) -> None:
    act, fields, rule = LOCAL[case]
    with pytest.raises(InvalidInput) as caught:
        await act(target.engine)
    problems = caught.value.problems
    assert [problem.field for problem in problems] == fields
    assert all(problem.rule for problem in problems)
    assert rule in problems[0].rule
    assert caught.value.code == "BadUserInput"
    assert str(caught.value) == "; ".join(str(problem) for problem in problems)
    assert target.sent == []
    assert target.dump() == {}


ELSEWHERE: dict[str, tuple[Act, list[str], object, str]] = {
    "an unknown parent": (put_assignment(parent="nobody"), ["assignments[0].parent"], "nobody", "no such entity"),
    "a cycle": (put_assignment(parent="user-ann"), ["assignments[0].parent"], "user-ann", "makes a cycle"),
    "a fifth level": (
        lambda engine: engine.governance.put_assignments(
            ACME,
            [
                {**NEW, "entity": "user-bob", "parent": "user-ann"},
                {**NEW, "entity": "model-large", "parent": "user-bob"},
            ],
        ),
        ["assignments[1].parent"],
        "user-bob",
        "makes 5 levels: at most 4",
    ),
    "an unknown entity type": (
        put_entities([{"id": "x", "type": "planet"}]),
        ["entities[0].type"],
        "planet",
        "no such",
    ),
    "a new entity without a type": (put_entities([{"id": "x"}]), ["entities[0].type"], None, "is required to create"),
}


@pytest.mark.parametrize("case", ELSEWHERE)
async def test_what_only_the_server_knows_is_refused_with_nothing_written(target: Target, case: str) -> None:
    act, fields, value, rule = ELSEWHERE[case]
    await found_chain(target.engine)
    before = target.dump()
    target.sent.clear()
    with pytest.raises(InvalidInput) as caught:
        await act(target.engine)
    assert [problem.field for problem in caught.value.problems] == fields
    assert caught.value.problems[0].value == value
    assert rule in caught.value.problems[0].rule
    assert not {"configure", "write_catalog"} & set(target.scripts_sent())
    assert target.dump() == before


async def test_a_huge_value_is_cut_in_the_message_and_whole_in_the_error(engine: AsyncHeadgate) -> None:
    with pytest.raises(InvalidInput) as caught:
        await engine.check("x" * 10_000, feature=TOKENS)
    assert len(str(caught.value)) < 300
    assert caught.value.problems[0].value == "x" * 10_000


async def test_instances_are_taken_as_they_are_mappings_are(engine: AsyncHeadgate) -> None:
    with pytest.raises(InvalidInput) as caught:
        await engine.report_many([UsageRecord(ACME, TOKENS, 1), UsageRecord("", TOKENS, 1)])
    assert caught.value.problems == (Problem("records[1].customer", "", caught.value.problems[0].rule),)


async def test_an_aware_timestamp_of_any_zone_is_accepted(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    then = datetime(2026, 3, 10, 12, tzinfo=UTC).astimezone(tz=None) - timedelta(days=1)
    assert (await engine.report(ACME, feature=TOKENS, value=1, timestamp=then)).account.applied == 1


@pytest.mark.parametrize("name", ["", "a:b", "a{b}", "é", "x" * 256])
def test_an_environment_has_an_id_too(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Headgate.connect("redis://127.0.0.1:1/0", environment=name)
    assert [(problem.field, problem.value) for problem in caught.value.problems] == [("environment", name)]


def test_without_a_url_both_choices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADGATE_URL", raising=False)
    with pytest.raises(InvalidInput, match=r"HEADGATE_URL.*redis://.*embedded://"):
        Headgate.connect()
