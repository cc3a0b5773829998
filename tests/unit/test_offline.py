"""Answers from a document: the same as a connected engine's, with nothing counted and nobody contacted."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from headgate import (
    AsyncHeadgate,
    AsyncOfflineHeadgate,
    DeniedReason,
    Headgate,
    InvalidInput,
    NotSupported,
    OfflineCustomer,
    OfflineEntitlement,
    OfflineEntitlements,
    OfflineHeadgate,
    OfflineType,
    Unavailable,
)

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
    }
}
READS: Final = (
    *("entitlement", "boolean_entitlement", "numeric_entitlement", "metered_entitlement", "enum_entitlement"),
    *("credit_entitlement", "entitlements", "reload", "check"),
)

Read = Callable[..., Any]


class Awaited:
    """An async engine whose methods wait for their answers."""

    def __init__(self, engine: AsyncOfflineHeadgate) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._engine, name)
        return lambda *args, **named: asyncio.run(_answer(attribute, *args, **named))


async def _answer(method: Any, *args: Any, **named: Any) -> Any:
    answer = method(*args, **named)
    return await answer if inspect.isawaitable(answer) else answer


@pytest.fixture(params=["threads", "asyncio"])
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Opens an engine on a document, where making a socket is an error but for the event loop's own pair."""
    return lambda document: (
        OfflineHeadgate(document) if request.param == "threads" else Awaited(AsyncOfflineHeadgate(document))
    )


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
        (DEMO, "feature-example-6", None, DeniedReason.NO_ACTIVE_SUBSCRIPTION),
        (DEMO, "feature-example-1", "site-01", DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND),
    ],
)
def test_what_is_not_in_the_document_is_denied_as_a_connected_engine_would(
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


@pytest.mark.parametrize("method", ["consume", "report", "report_many", "reserve", "explain", "apply", "updates"])
def test_what_would_count_or_change_something_is_refused(engine: Any, method: str) -> None:
    with pytest.raises(NotSupported, match="connect to a Redis"):
        getattr(engine, method)(DEMO, feature="feature-example-4", value=1)


def test_every_namespace_is_there_and_refuses() -> None:
    with OfflineHeadgate(DOCUMENT) as engine:
        for name in ("catalog", "customers", "subscriptions", "credits", "governance", "reservations", "api_keys"):
            with pytest.raises(NotSupported):
                getattr(engine, name).put_anything("x")
        found = engine.catalog.find(["feature-example-5", "feature-none"])
        assert [(id, each.enum_values) for id, each in found.items()] == [("feature-example-5", ("eu", "us"))]  # type: ignore[union-attr]
        assert (engine.environment, engine.metrics) == ("offline", {})


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


def test_nobody_is_contacted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **named: Any) -> Any:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", refuse)
    with OfflineHeadgate(DOCUMENT) as engine:
        for method in READS:
            named = {"feature": "feature-example-1"} if method == "check" else {}
            args = [DEMO] if method in ("entitlements", "reload", "check") else [DEMO, "feature-example-1"]
            getattr(engine, method)(*args, **named)


@pytest.mark.parametrize(("offline", "connected"), [(OfflineHeadgate, Headgate), (AsyncOfflineHeadgate, AsyncHeadgate)])
def test_reads_have_the_parameters_of_a_connected_engine_and_nothing_of_it_is_missing(
    offline: type[Any], connected: type[Any]
) -> None:
    for name in READS:
        assert inspect.signature(getattr(offline, name)) == inspect.signature(getattr(connected, name))
        assert inspect.iscoroutinefunction(getattr(offline, name)) is (connected is AsyncHeadgate)
    public = {name for name in dir(connected) if not name.startswith("_")} - {"connect"}
    assert public <= set(dir(offline))
    parameters = set(inspect.signature(offline(None).catalog.find).parameters)
    assert parameters == {"ids"}
