"""Answers from a document: the same as a connected engine's, with nothing counted and nobody contacted."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest

from headgate import (
    AsyncHeadgate,
    AsyncOfflineHeadgate,
    DeniedReason,
    Feature,
    FeatureType,
    Headgate,
    HeadgateError,
    InvalidInput,
    ManualClock,
    NotSupported,
    OfflineCustomer,
    OfflineEntitlement,
    OfflineEntitlements,
    OfflineHeadgate,
    OfflineType,
    Policy,
    Unavailable,
    UsageRecord,
    testing,
)
from headgate.clock import wall_ms

DEMO: Final = "customer-demo-01"
DOCUMENT: Final[dict[str, Any]] = {
    "customers": {
        DEMO: {
            "entitlements": {
                "feature-example-1": {"type": "BOOLEAN"},
                "feature-example-2": {"type": "NUMERIC", "value": 1000, "isUnlimited": False},
                "feature-example-3": {"type": "METERED", "isUnlimited": True},
                "feature-example-4": {"type": "METERED", "usageLimit": 100_000},
                "feature-example-5": {"type": "ENUM", "enumValues": ["eu", "us"]},
            }
        },
        "customer-demo-02": {"entitlements": {"feature-example-6": {"type": "NUMERIC", "isUnlimited": True}}},
        "customer-demo-03": {"entitlements": {}},
    }
}
READS: Final = (
    *("entitlement", "boolean_entitlement", "numeric_entitlement", "metered_entitlement", "enum_entitlement"),
    *("credit_entitlement", "entitlements", "reload", "check"),
)

Read = Callable[..., Any]


class Awaited:
    """An async engine whose methods wait for their answers, on an event loop that is there already."""

    def __init__(self, engine: AsyncOfflineHeadgate, loop: asyncio.AbstractEventLoop) -> None:
        self._engine, self._loop = engine, loop

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._engine, name)
        if not callable(attribute):
            return attribute
        return lambda *args, **named: self._loop.run_until_complete(_answer(attribute, *args, **named))


async def _answer(method: Any, *args: Any, **named: Any) -> Any:
    answer = method(*args, **named)
    return await answer if inspect.isawaitable(answer) else answer


@pytest.fixture(params=["threads", "asyncio"])
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Opens an engine on a document. Whoever makes a socket fails; the event loop has its own already."""

    def refuse(*args: Any, **named: Any) -> Any:
        raise AssertionError("a socket was made")

    loop = asyncio.new_event_loop()
    monkeypatch.setattr(socket, "socket", refuse)
    yield (
        lambda document, **named: (
            OfflineHeadgate(document, **named)
            if request.param == "threads"
            else Awaited(AsyncOfflineHeadgate(document, **named), loop)
        )
    )
    loop.close()


@pytest.fixture
def engine(opened: Callable[[Any], Any]) -> Any:
    return opened(DOCUMENT)


def verdict(found: Any) -> tuple[bool, DeniedReason | None]:
    return found.has_access, found.reason


GRANTED: Final = (True, None)


def test_each_type_is_answered_with_its_value(engine: Any) -> None:
    assert verdict(engine.boolean_entitlement(DEMO, "feature-example-1")) == GRANTED
    numeric = engine.numeric_entitlement(DEMO, "feature-example-2")
    assert (numeric.value, numeric.is_unlimited, numeric.feature.id) == (1000, False, "feature-example-2")
    unlimited = engine.metered_entitlement(DEMO, "feature-example-3", requested_usage=10**9)
    assert (verdict(unlimited), unlimited.is_unlimited, unlimited.usage_limit) == (GRANTED, True, None)
    for usage, granted in ((100_000, True), (100_000.5, False)):
        metered = engine.metered_entitlement(DEMO, "feature-example-4", requested_usage=usage)
        assert (metered.has_access, metered.current_usage, metered.usage_limit) == (granted, 0, 100_000)
        assert (metered.reset_period, metered.usage_period_end) == (None, None)
        assert granted or metered.reason is DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT
    enum = engine.enum_entitlement(DEMO, "feature-example-5", requested_values=["us"])
    assert (verdict(enum), enum.enum_values) == (GRANTED, ("eu", "us"))
    mismatch = engine.enum_entitlement(DEMO, "feature-example-5", requested_values=["asia"])
    assert verdict(mismatch) == (False, DeniedReason.REQUESTED_VALUES_MISMATCH)
    assert engine.numeric_entitlement("customer-demo-02", "feature-example-6").is_unlimited


@pytest.mark.parametrize(
    ("customer", "feature", "resource", "reason"),
    [
        ("nobody", "feature-example-1", None, DeniedReason.CUSTOMER_NOT_FOUND),
        (DEMO, "feature-none", None, DeniedReason.FEATURE_NOT_FOUND),
        (DEMO, "feature-example-6", None, DeniedReason.NO_FEATURE_ENTITLEMENT),
        ("customer-demo-03", "feature-example-1", None, DeniedReason.NO_ACTIVE_SUBSCRIPTION),
        ("nobody", "feature-none", "site-01", DeniedReason.CUSTOMER_NOT_FOUND),
        (DEMO, "feature-none", "site-01", DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND),
        (DEMO, "feature-example-1", "site-01", DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND),
    ],
)
def test_what_is_not_in_the_document_is_denied_with_its_reason(
    engine: Any, customer: str, feature: str, resource: str | None, reason: DeniedReason
) -> None:
    found = engine.entitlement(customer, feature, resource=resource)
    assert (verdict(found), found.feature) == ((False, reason), None)
    decision = engine.check(customer, feature=feature, resource=resource)
    assert (decision.granted, decision.reason, decision.account) == (False, reason, None)


def test_a_feature_of_another_type_is_denied(engine: Any) -> None:
    for method, feature in (
        ("boolean_entitlement", "feature-example-2"),
        ("numeric_entitlement", "feature-example-3"),
        ("metered_entitlement", "feature-example-2"),
        ("enum_entitlement", "feature-example-1"),
    ):
        found = getattr(engine, method)(DEMO, feature)
        assert verdict(found) == (False, DeniedReason.FEATURE_TYPE_MISMATCH)


def test_all_are_listed_by_id_and_reloading_is_the_same(engine: Any) -> None:
    for found in (engine.entitlements(DEMO), engine.reload(DEMO)):
        assert [each.id for each in found] == sorted(DOCUMENT["customers"][DEMO]["entitlements"])
        assert (found.reason, found.entity_exists) == (None, True)
    nobody = engine.entitlements("nobody")
    assert (len(nobody), nobody.reason, nobody.entity_exists) == (0, DeniedReason.CUSTOMER_NOT_FOUND, False)
    assert not engine.reload(DEMO, resource="site-01").entity_exists


def test_credits_are_none(engine: Any) -> None:
    assert engine.credit_entitlement(DEMO, "credits").reason is DeniedReason.ENTITLEMENT_NOT_FOUND
    assert engine.credit_entitlement("nobody", "credits").reason is DeniedReason.CUSTOMER_NOT_FOUND
    assert engine.check(DEMO, currency="credits").reason is DeniedReason.ENTITLEMENT_NOT_FOUND


def test_a_check_decides_and_its_dimensions_match_nothing(engine: Any) -> None:
    decision = engine.check(DEMO, feature="feature-example-4", requested_usage=100_001, dimensions={"teamId": "x"})
    assert (decision.granted, decision.reason) == (False, DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT)
    assert (decision.chains, decision.binding.limit, decision.binding.granted) == ((), 100_000, False)
    assert "feature-example-4" in str(decision)
    assert engine.check(DEMO, feature="feature-example-4", requested_usage=100_000).granted
    assert engine.check(DEMO, feature="feature-example-1").chains is None


WRITES: Final[dict[str, Callable[[Any], Any]]] = {
    "consume": lambda engine: engine.consume(DEMO, feature="feature-example-4"),
    "report": lambda engine: engine.report(DEMO, feature="feature-example-4", value=1),
    "report_many": lambda engine: engine.report_many([UsageRecord(DEMO, "feature-example-4", 1)] * 2),
    "reserve": lambda engine: engine.reserve(DEMO, feature="feature-example-4"),
    "explain": lambda engine: engine.explain(DEMO, feature="feature-example-4"),
    "apply": lambda engine: engine.apply(Policy.parse({})),
    "updates": lambda engine: engine.updates(),
}


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("document", [DOCUMENT, None], ids=["document", "none"])
def test_what_would_count_or_change_something_is_refused(
    opened: Callable[[Any], Any], method: str, document: Any
) -> None:
    with pytest.raises(NotSupported, match=r"^offline, .* nothing is counted or changed: connect to a Redis"):
        WRITES[method](opened(document))


@pytest.mark.parametrize("kind", [OfflineHeadgate, AsyncOfflineHeadgate])
def test_an_offline_engine_is_not_connected_by_a_url(kind: type[Any]) -> None:
    with pytest.raises(NotSupported, match="made of a document"):
        kind.connect("redis://localhost")


NAMESPACES: Final = ("catalog", "customers", "subscriptions", "credits", "governance", "reservations", "api_keys")
GIVEN: Final[dict[str, Any]] = {
    "features": [{"id": "sso", "feature_type": "BOOLEAN"}],
    "currencies": [{"id": "k"}],
    "entity_types": [{"id": "team"}],
    "plans": [{"id": "p"}],
    "addons": [{"id": "a"}],
    "change": lambda present: present,
    "entitlement": {"feature": "f"},
    "entitlements": [{"feature": "f"}],
    "subscription": {"plan": "p"},
    "grant": {"currency": "k", "amount": 1},
    "entities": [{"id": "e", "type": "t"}],
    "assignments": [{"entity": "e", "feature": "f", "usage_limit": 1, "cadence": "P1D"}],
    "amount": 1,
    "expires_in": 5,
    "scope": "read",
}


def methods_of(engine: Any) -> list[Any]:
    return [
        getattr(getattr(engine, namespace), name)
        for namespace in NAMESPACES
        for name in dir(getattr(engine, namespace))
        if not name.startswith("_") and (namespace, name) not in {("catalog", "features"), ("catalog", "find")}
    ]


def sample_of(method: Any) -> dict[str, Any]:
    """Arguments that the method accepts, so that only being offline speaks against the call."""
    needed = [each for each in inspect.signature(method).parameters.values() if each.default is each.empty]
    return {each.name: GIVEN.get(each.name, ["x"] if "Sequence" in str(each.annotation) else "x") for each in needed}


def test_every_method_of_every_namespace_is_there_and_refuses() -> None:
    loop = asyncio.new_event_loop()
    with closing(loop):
        for engine in (OfflineHeadgate(DOCUMENT), AsyncOfflineHeadgate(DOCUMENT)):
            assert len(methods_of(engine)) > 50
            for method in methods_of(engine):
                with pytest.raises(NotSupported, match="nothing is counted or changed"):
                    loop.run_until_complete(_answer(method, **sample_of(method)))


def test_the_catalog_has_the_features_of_the_document() -> None:
    with OfflineHeadgate(DOCUMENT) as engine:
        assert list(engine.catalog.features()) == [f"feature-example-{number}" for number in range(1, 7)]
        ((id, found),) = engine.catalog.find(["feature-example-5", "feature-none"]).items()
        assert isinstance(found, Feature)
        assert (id, found.feature_type, found.enum_values) == ("feature-example-5", FeatureType.ENUM, ("eu", "us"))
        with pytest.raises(InvalidInput, match=r"ids\[1\]"):
            engine.catalog.find(["f", "a b"])
    with pytest.raises(Unavailable):
        OfflineHeadgate(None).catalog.find(["f"])


def test_an_enum_feature_has_the_values_of_all_customers_in_one_order() -> None:
    customers = {
        id: {"entitlements": {"f": {"type": "ENUM", "enumValues": values}}}
        for id, values in {"a": ["eu", "us", "eu"], "b": ["asia", "us", "eu"]}.items()
    }
    with OfflineHeadgate({"customers": customers}) as engine:
        assert engine.catalog.features()["f"].enum_values == ("eu", "us", "asia")
        assert engine.enum_entitlement("a", "f").enum_values == ("eu", "us")
        assert engine.enum_entitlement("b", "f").enum_values == ("eu", "us", "asia")
        assert engine.enum_entitlement("a", "f", requested_values=["asia"]).reason == "RequestedValuesMismatch"


def test_decisions_are_counted_and_the_clock_says_when_they_were_made(opened: Callable[..., Any]) -> None:
    clock = ManualClock(1_750_000_000_000)
    engine = opened(DOCUMENT, clock=clock)
    assert engine.check(DEMO, feature="feature-example-4").decided_at_ms == clock.now_ms
    clock.advance(5)
    assert engine.entitlement(DEMO, "feature-example-4").read_at_ms == 1_750_000_000_005
    assert not engine.check("nobody", feature="feature-example-4")
    assert (engine.metrics["decisions_granted"], engine.metrics["decisions_refused_CustomerNotFound"]) == (1, 1)
    assert engine.environment == "offline"


def test_without_a_clock_the_time_is_the_machines() -> None:
    before_ms = wall_ms()
    with OfflineHeadgate(DOCUMENT) as engine:
        assert before_ms <= engine.entitlements(DEMO).read_at_ms <= wall_ms()


def test_a_closed_engine_answers_nothing(opened: Callable[[Any], Any]) -> None:
    engine = opened(DOCUMENT)
    engine.close()
    with pytest.raises(HeadgateError, match="closed"):
        engine.boolean_entitlement(DEMO, "feature-example-1")


def test_without_a_document_there_is_no_data(opened: Callable[[Any], Any]) -> None:
    engine = opened(None)
    for method in READS:
        named = {"feature": "f"} if method == "check" else {}
        args = [DEMO] if method in ("entitlements", "reload", "check") else [DEMO, "f"]
        with pytest.raises(Unavailable):
            getattr(engine, method)(*args, **named)


def test_bad_input_is_refused_as_it_is_connected(engine: Any) -> None:
    for read, field in (
        (lambda: engine.entitlement("a b", "f"), "customer"),
        (lambda: engine.entitlement(DEMO, ""), "feature"),
        (lambda: engine.metered_entitlement(DEMO, "f", requested_usage=-1), "requested_usage"),
        (lambda: engine.enum_entitlement(DEMO, "f", requested_values="eu"), "requested_values"),
        (lambda: engine.entitlements(DEMO, resource=" "), "resource"),
        (lambda: engine.check(DEMO), "feature"),
    ):
        with pytest.raises(InvalidInput, match=field):
            read()


def test_a_document_is_taken_as_text_as_a_file_as_a_mapping_and_as_objects(tmp_path: Path) -> None:
    file = tmp_path / "entitlements.json"
    file.write_text(json.dumps(DOCUMENT))
    sso = OfflineEntitlement(type=OfflineType.METERED, usage_limit=5)
    objects = OfflineEntitlements(customers={DEMO: OfflineCustomer(entitlements={"feature-example-4": sso})})
    for document in (DOCUMENT, json.dumps(DOCUMENT), file, objects):
        with OfflineHeadgate(document) as engine:
            assert engine.metered_entitlement(DEMO, "feature-example-4").has_access


def held(**fields: Any) -> dict[str, Any]:
    return {"customers": {"acme": {"entitlements": {"f": fields}}}}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "offline: '{': is not JSON"),
        ("[]", "must be an object"),
        (Path("no-such-file.json"), "cannot be read"),
        ({"customer": {}}, "customer: {}: unknown field"),
        ({"customers": {"a b": {}}}, "customers.a b"),
        (held(type="TEXT"), "customers.acme.entitlements.f.type: 'TEXT'"),
        (held(), "customers.acme.entitlements.f.type: None: is required"),
        (held(type="BOOLEAN", value=1), "value: an entitlement of type BOOLEAN has none"),
        (held(type="ENUM", usageLimit=1), "usageLimit: an entitlement of type ENUM has none"),
        (held(type="METERED"), "usageLimit: is needed"),
        (held(type="METERED", usageLimit=1, isUnlimited=True), "and not both"),
        (held(type="METERED", usageLimit=-1), "customers.acme.entitlements.f.usageLimit: -1"),
        (held(type="NUMERIC"), "value: is needed"),
        (held(type="NUMERIC", value=float("nan")), "f.value: nan"),
        (held(type="NUMERIC", value=2**53), "f.value: 9007199254740992"),
        (held(type="NUMERIC", value="5"), "f.value: '5'"),
        (held(type="NUMERIC", isUnlimited=1), "f.isUnlimited: 1"),
        (held(type="ENUM"), "enumValues: is needed"),
        (held(type="ENUM", enumValues=[]), "enumValues: is needed"),
        (held(type="ENUM", enumValues="eu"), "f.enumValues: 'eu'"),
        (held(type="METERED", usageLimit=1, usage_limit=2), "f.usage_limit: 2: unknown field"),
        ('{"customers": {"a": {}, "a": {}}}', "offline: 'a': is there more than once in one object"),
        ("entitlements.json", "the path of a file is given as a pathlib.Path"),
        (held(type="BOOLEAN", access=True), "customers.acme.entitlements.f.access: True: unknown field"),
        (
            {
                "customers": {
                    "a": {"entitlements": {"f": {"type": "BOOLEAN"}}},
                    "b": {"entitlements": {"f": {"type": "ENUM", "enumValues": ["x"]}}},
                }
            },
            "customers.b.entitlements.f.type: 'ENUM': a feature has one type, and at customers.a.entitlements.f it is",
        ),
    ],
)
def test_a_document_that_breaks_a_rule_is_refused_by_its_path(document: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        OfflineHeadgate(document)
    assert said in str(caught.value)


def test_a_field_that_is_null_is_as_one_that_is_left_out() -> None:
    nulls = {"value": None, "usageLimit": None, "isUnlimited": None, "enumValues": None}
    with OfflineHeadgate(json.dumps(held(type="BOOLEAN", **nulls))) as engine:
        assert engine.boolean_entitlement("acme", "f")
    with OfflineHeadgate(held(**{**nulls, "type": "METERED", "usageLimit": 5})) as engine:
        assert engine.metered_entitlement("acme", "f").usage_limit == 5


# The same customers, entitled by subscriptions on a fake server: whatever is read is the same, to the last field.


@contextmanager
def connected(clock: ManualClock) -> Iterator[Headgate]:
    server = testing.FakeServer()
    with closing(server), testing.FakeHeadgate(server, clock=clock) as engine:
        number = {"feature_type": "NUMBER"}
        kinds: dict[str, dict[str, Any]] = {
            "BOOLEAN": {"feature_type": "BOOLEAN"},
            "NUMERIC": number,
            "METERED": {**number, "meter_type": "INCREMENTAL"},
            "ENUM": {"feature_type": "ENUM", "enum_values": ["eu", "us"]},
        }
        customers = DOCUMENT["customers"]
        everything = {id: each for customer in customers.values() for id, each in customer["entitlements"].items()}
        engine.catalog.put_features([{"id": id, **kinds[each["type"]]} for id, each in everything.items()])
        engine.catalog.put_plans([{"id": "plan"}])
        for customer, said in customers.items():
            engine.customers.put(customer)
            own = [
                {
                    "feature": id,
                    "usage_limit": each.get("value", each.get("usageLimit")),
                    "has_unlimited_usage": each.get("isUnlimited", False),
                    "enum_values": each.get("enumValues", []),
                }
                for id, each in said["entitlements"].items()
            ]
            if own:
                engine.subscriptions.provision(customer, {"plan": "plan", "entitlements": own})
        yield engine


def everything_read(engine: Headgate) -> Iterator[tuple[str, Any]]:
    ids = [*(f"feature-example-{number}" for number in range(1, 7)), "feature-none"]
    for customer in (*DOCUMENT["customers"], "nobody"):
        for resource in (None, "site-01"):
            for read in (engine.entitlements, engine.reload):
                yield f"{read.__name__} of {customer}, {resource}", read(customer, resource=resource).as_dict()
            credit = engine.credit_entitlement(customer, "credits", resource=resource, requested_usage=2)
            yield f"credits of {customer}, {resource}", credit.as_dict()
            yield f"check of credits, {customer}", engine.check(customer, currency="credits", resource=resource)
            for feature, asked in product(ids, (0, 1, 100_000, 100_000.00001)):
                values = ["us"] if asked != 1 else ["us", "asia"]
                what = {"resource": resource, "requested_usage": asked, "requested_values": values}
                place = f"{feature} of {customer}, {resource}, {asked}"
                yield f"{place}: read", engine.entitlement(customer, feature, **what).as_dict()  # type: ignore[arg-type]
                for dimensions in (None, {}, {"teamId": "x"}):
                    decision = engine.check(customer, feature=feature, dimensions=dimensions, **what)  # type: ignore[arg-type]
                    yield f"{place}: check", (decision.as_dict(), str(decision), decision.valid_until_ms)
            for feature in ids:
                place = f"{feature} of {customer}, {resource}"
                for kind in ("boolean", "numeric", "metered", "enum"):
                    found = getattr(engine, f"{kind}_entitlement")(customer, feature, resource=resource)
                    yield f"{place}: {kind}", (type(found).__name__, found.as_dict(), str(found))


def test_every_answer_is_that_of_a_connected_engine_with_such_subscriptions() -> None:
    clock = ManualClock(1_750_000_000_000)
    with connected(clock) as engine, OfflineHeadgate(DOCUMENT, clock=clock) as offline:
        compared = 0
        for (place, mine), (_, theirs) in zip(everything_read(offline), everything_read(engine), strict=True):
            assert mine == theirs, place
            compared += 1
        assert compared > 500


@pytest.mark.parametrize(("offline", "connected"), [(OfflineHeadgate, Headgate), (AsyncOfflineHeadgate, AsyncHeadgate)])
def test_an_offline_engine_has_all_names_parameters_and_docstrings_of_a_connected_one(
    offline: type[Any], connected: type[Any]
) -> None:
    assert {name for name in dir(connected) if not name.startswith("_")} <= set(dir(offline))
    for name in READS:
        mine, theirs = getattr(offline, name), getattr(connected, name)
        assert mine is not theirs, f"{name} would ask a server"
        assert inspect.signature(mine) == inspect.signature(theirs)
        assert inspect.getdoc(mine) == inspect.getdoc(theirs)
        assert inspect.iscoroutinefunction(mine) is (connected is AsyncHeadgate)
