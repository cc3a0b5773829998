"""Reports over gRPC: what is counted where, what is answered, and what becomes of a bulk that goes wrong."""

from __future__ import annotations

import uuid
from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from behaviour.commerce import CREDITS, DAY_MS, SITE, give
from behaviour.readings import PAID, found_full_shop
from behaviour.world import ACME, ENTITIES, ENTITY_TYPES, SEATS, SSO, TOKENS
from headgate import OutcomeUnknown, Unavailable
from headgate.model.decision import instant
from headgate.sidecar.protocol import sidecar_pb2 as wire
from sidecar.conftest import NOW_MS, Opening, Sidecar

DELTA, SET = wire.USAGE_UPDATE_BEHAVIOR_DELTA, wire.USAGE_UPDATE_BEHAVIOR_SET


def usage(value: float = 1, feature: str = TOKENS, customer: str = ACME, **more: Any) -> wire.ReportUsageRequest:
    return wire.ReportUsageRequest(customer_id=customer, feature_id=feature, value=value, **more)


def bulk(*usages: wire.ReportUsageRequest) -> wire.ReportUsageBulkRequest:
    return wire.ReportUsageBulkRequest(usages=usages)


def dimension(**value: Any) -> wire.EventDimensionValue:
    return wire.EventDimensionValue(**value)


async def used(sidecar: Sidecar, feature: str = TOKENS, **named: Any) -> float:
    return (await sidecar.engine.metered_entitlement(ACME, feature, **named)).current_usage


async def test_a_report_adds_and_says_what_the_counter_stands_at_and_in_which_period(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    for value, behavior, stands_at in ((2, None, 2), (3, DELTA, 5), (1.5, 0, 6.5), (-4, None, 2.5), (9, SET, 9)):
        found = await sidecar.stub.ReportUsage(usage(value, update_behavior=behavior))
        assert uuid.UUID(found.measurement_id)
        assert (found.customer_id, found.feature_id, found.HasField("resource_id")) == (ACME, TOKENS, False)
        assert found.current_usage == stands_at == await used(sidecar)
        assert found.usage_period_start.ToDatetime(UTC) == instant(NOW_MS)
        assert found.usage_period_end.ToDatetime(UTC) == instant(NOW_MS + 31 * DAY_MS)
    never = await sidecar.stub.ReportUsage(usage(3, SEATS))
    assert (never.current_usage, never.HasField("usage_period_start")) == (3, False)


async def test_a_report_for_a_resource_counts_there(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    await sidecar.engine.customers.put_resource(ACME, SITE)
    found = await sidecar.stub.ReportUsage(usage(7, resource_id=SITE))
    assert (found.resource_id, found.current_usage) == (SITE, 7)
    assert (await used(sidecar, resource=SITE), await used(sidecar)) == (7, 0)


async def test_dimensions_reach_the_budgets_that_they_name_whatever_their_type(sidecar: Sidecar) -> None:
    engine = sidecar.engine
    await found_full_shop(engine)
    await engine.catalog.put_entity_types(ENTITY_TYPES)
    await engine.governance.put_entities(
        ACME, [*ENTITIES, {"id": "42", "type": "team"}, {"id": "true", "type": "user"}]
    )
    for entity in ("42", "team-eng", "true"):
        budget = {"entity": entity, "feature": TOKENS, "usage_limit": 100, "cadence": "P1D"}
        await engine.governance.put_assignments(ACME, [budget])
    for key, value in (
        ("teamId", dimension(number_value=42)),
        ("teamId", dimension(string_value="team-eng")),
        ("userId", dimension(boolean_value=True)),
        ("unknown", dimension(boolean_value=False)),
    ):
        await sidecar.stub.ReportUsage(usage(5, dimensions={key: value}))
    decision = await engine.check(ACME, feature=TOKENS, dimensions={"teamId": "42", "userId": "true"})
    matched = [(node.entity, node.used) for chain in decision.chains or () for node in chain]
    assert sorted(matched) == [("42", 5), ("true", 5)]
    assert await used(sidecar) == 20


async def test_a_currency_is_reported_by_its_id(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    await give(sidecar.engine, 100)
    found = await sidecar.stub.ReportUsage(usage(30, CREDITS))
    assert (found.feature_id, found.current_usage) == (CREDITS, 30)
    paid = await sidecar.stub.ReportUsage(usage(4, PAID))
    assert paid.current_usage == 4
    assert (await sidecar.engine.credits.wallet(ACME, currency=CREDITS)).balance == 60
    status, message, _ = await sidecar.refused("ReportUsage", usage(3, CREDITS, update_behavior=SET))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "update_behavior: 'SET'" in message


async def test_a_correction_that_is_dated_before_the_period_is_not_applied(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    await sidecar.stub.ReportUsage(usage(5))
    at = Timestamp()
    at.FromDatetime(instant(NOW_MS) - timedelta(days=1))
    assert (await sidecar.stub.ReportUsage(usage(-3, timestamp=at))).current_usage == 5


@pytest.mark.parametrize(
    ("report", "status", "said"),
    [
        (usage(customer=""), grpc.StatusCode.INVALID_ARGUMENT, "customer_id: ''"),
        (usage(feature=""), grpc.StatusCode.INVALID_ARGUMENT, "feature_id: ''"),
        (usage(value=float("nan")), grpc.StatusCode.INVALID_ARGUMENT, "value: nan"),
        (usage(value=-1, update_behavior=SET), grpc.StatusCode.INVALID_ARGUMENT, "value: -1.0"),
        (usage(update_behavior=7), grpc.StatusCode.INVALID_ARGUMENT, "update_behavior: 7"),
        (usage(dimensions={"teamId": dimension()}), grpc.StatusCode.INVALID_ARGUMENT, "dimensions['teamId']"),
        (usage(timestamp=Timestamp(seconds=10**12)), grpc.StatusCode.INVALID_ARGUMENT, "timestamp"),
        (usage(feature=SSO), grpc.StatusCode.INVALID_ARGUMENT, "feature_id: 'feature-sso': is not metered"),
        (usage(feature="feature-none"), grpc.StatusCode.NOT_FOUND, "feature 'feature-none'"),
        (usage(customer="nobody"), grpc.StatusCode.NOT_FOUND, "customer 'nobody'"),
        (usage(resource_id="site-99"), grpc.StatusCode.NOT_FOUND, "customer resource 'site-99'"),
        (usage(value=2.0**53 - 1), None, ""),
    ],
)
async def test_what_cannot_be_counted_is_said_and_counts_nothing(
    sidecar: Sidecar, report: wire.ReportUsageRequest, status: grpc.StatusCode | None, said: str
) -> None:
    await found_full_shop(sidecar.engine)
    await sidecar.engine.report(ACME, feature=TOKENS, value=5)
    if status is None:
        found, message, _ = await sidecar.refused("ReportUsage", report)
        assert (found, "nothing was written" in message) == (grpc.StatusCode.OUT_OF_RANGE, True)
    else:
        found, message, metadata = await sidecar.refused("ReportUsage", report)
        assert (found, said in message) == (status, True), message
        assert "grpc-retry-pushback-ms" not in metadata
    assert await used(sidecar) == 5


async def test_a_bulk_counts_in_order_and_answers_each(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    found = await sidecar.stub.ReportUsageBulk(bulk(usage(2), usage(3, SEATS), usage(5, update_behavior=SET), usage(1)))
    assert [(each.feature_id, each.current_usage) for each in found.usages] == [
        (TOKENS, 2),
        (SEATS, 3),
        (TOKENS, 5),
        (TOKENS, 6),
    ]
    assert len({each.measurement_id for each in found.usages}) == 4


@pytest.mark.parametrize("count", [0, 101])
async def test_a_bulk_has_1_to_100_reports(sidecar: Sidecar, count: int) -> None:
    await found_full_shop(sidecar.engine)
    status, message, _ = await sidecar.refused("ReportUsageBulk", bulk(*[usage()] * count))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert f"usages: {count}" in message
    assert await used(sidecar) == 0


async def test_one_report_of_a_bulk_that_breaks_a_rule_keeps_all_of_it_out(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    for wrong, said in (
        (usage(feature="feature-none"), "usages[2].feature_id"),
        (usage(value=float("inf")), "usages[2].value"),
        (usage(customer="a b"), "usages[2].customer_id"),
    ):
        status, message, metadata = await sidecar.refused("ReportUsageBulk", bulk(usage(), usage(), wrong))
        assert status in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
        assert said in message
        assert "grpc-retry-pushback-ms" not in metadata
    assert await used(sidecar) == 0


async def test_a_bulk_that_goes_wrong_in_the_middle_says_what_became_of_each_and_is_not_to_be_sent_again(
    sidecar: Sidecar,
) -> None:
    await found_full_shop(sidecar.engine)
    status, message, metadata = await sidecar.refused(
        "ReportUsageBulk", bulk(usage(2), usage(3, customer="nobody"), usage(4))
    )
    assert (status, metadata["grpc-retry-pushback-ms"]) == (grpc.StatusCode.UNKNOWN, "-1")
    assert metadata["headgate-outcomes"] == "applied, not applied, not applied"
    assert "customer 'nobody'" in message
    assert await used(sidecar) == 2
    status, _, metadata = await sidecar.refused("ReportUsageBulk", bulk(usage(customer="nobody"), usage(4)))
    assert (status, metadata["headgate-outcomes"]) == (grpc.StatusCode.NOT_FOUND, "not applied, not applied")
    assert "grpc-retry-pushback-ms" not in metadata


class Failing:
    """An engine whose reports end in an error."""

    def __init__(self, engine: Any, error: Exception) -> None:
        self._engine, self._error = engine, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def report(self, *args: Any, **named: Any) -> Any:
        raise self._error

    async def report_many(self, records: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "status", "may_come_again"),
    [
        (Unavailable("away"), grpc.StatusCode.UNAVAILABLE, True),
        (OutcomeUnknown("no reply"), grpc.StatusCode.UNKNOWN, False),
        (RuntimeError("secret"), grpc.StatusCode.INTERNAL, False),
    ],
)
async def test_only_what_was_certainly_not_counted_may_be_sent_again(
    opening: Opening, error: Exception, status: grpc.StatusCode, may_come_again: bool
) -> None:
    await found_full_shop(opening.target.engine)
    sidecar = await opening(engine=Failing(opening.target.engine, error))
    found, message, metadata = await sidecar.refused("ReportUsage", usage())
    assert (found, "grpc-retry-pushback-ms" not in metadata) == (status, may_come_again)
    assert "secret" not in message


async def test_raw_events_are_refused_and_never_passed_over(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    event = wire.Event(event_name="login", customer_id=ACME, idempotency_key="1")
    status, message, _ = await sidecar.refused("ReportEvents", wire.ReportEventsRequest(events=[event]))
    assert status is grpc.StatusCode.UNIMPLEMENTED
    assert "not counted yet" in message


async def test_one_that_only_reads_refuses_every_report(opening: Opening) -> None:
    await found_full_shop(opening.target.engine)
    sidecar = await opening(read_only=True)
    for call, request in (
        ("ReportUsage", usage()),
        ("ReportUsageBulk", bulk(usage())),
        ("ReportEvents", wire.ReportEventsRequest()),
    ):
        status, message, _ = await sidecar.refused(call, request)
        assert (status, "--grpc-read-only" in message) == (grpc.StatusCode.PERMISSION_DENIED, True)
    assert await used(sidecar) == 0
    assert (
        await sidecar.stub.GetBooleanEntitlement(wire.GetBooleanEntitlementRequest(customer_id=ACME, feature_id=SSO))
    ).has_access
