"""What a user's type checker sees. Only mypy reads this file: it never runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import assert_type

from headgate import (
    Addon,
    Assignment,
    AssignmentUpsert,
    AsyncHeadgate,
    AsyncHold,
    AsyncOfflineHeadgate,
    BooleanEntitlement,
    Change,
    Charge,
    ConstraintState,
    Currency,
    Customer,
    Decision,
    DeniedReason,
    Entitlement,
    Entitlements,
    Entity,
    EntityBudget,
    EntityType,
    EntityUpsert,
    EnumEntitlement,
    Explanation,
    Feature,
    FeatureType,
    Grant,
    GrantRequest,
    GrantState,
    Headgate,
    Hold,
    LimitReached,
    ManualClock,
    MeteredEntitlement,
    NumericEntitlement,
    OfflineCustomer,
    OfflineEntitlement,
    OfflineEntitlements,
    OfflineHeadgate,
    OfflineType,
    Plan,
    Policy,
    PromotionalEntitlement,
    Receipt,
    Reservation,
    ReservationStatus,
    Resource,
    Settings,
    Subscription,
    SubscriptionUpsert,
    Tree,
    Update,
    UpdateBehavior,
    UsageRecord,
    Wallet,
)


def for_threads(policy: Policy, now: datetime) -> None:
    with Headgate.connect("redis://localhost", environment="e", settings=Settings(), clock=ManualClock(0)) as engine:
        assert_type(engine, Headgate)
        decision = engine.check("c", feature="f", requested_usage=1.5, dimensions={"teamId": "a", "n": 42, "b": True})
        assert_type(decision, Decision)
        assert_type(decision.granted, bool)
        assert_type(decision.reason, DeniedReason | None)
        assert_type(decision.account, ConstraintState | None)
        assert_type(decision.chains, tuple[tuple[ConstraintState, ...], ...] | None)
        assert_type(decision.binding, ConstraintState | None)
        assert_type(decision.resets_at, datetime | None)
        assert_type(decision.require(), Decision)
        assert_type(engine.check("c", feature="f", requested_values=["eu"]), Decision)
        assert_type(engine.consume("c", feature="f", amount=1), Decision)
        assert_type(engine.report("c", feature="f", value=-1, behavior="SET", timestamp=now), Receipt)
        assert_type(engine.report("c", feature="f", value=1, behavior=UpdateBehavior.DELTA), Receipt)
        assert_type(engine.check("c", currency="k", resource="site-01").wallet, Wallet | None)
        assert_type(engine.consume("c", currency="k", amount=2.5).charges, tuple[Charge, ...])
        assert_type(engine.report("c", currency="k", value=-1, resource="site-01").charges, tuple[Charge, ...])
        assert_type(engine.report_many([UsageRecord("c", "f", 1), {"customer": "c"}]), list[Receipt])
        assert_type(engine.entitlement("c", "f", requested_usage=2, requested_values=["eu"]), Entitlement)
        assert_type(engine.entitlement("c", feature="f", resource="site-01").has_access, bool)
        assert_type(engine.boolean_entitlement("c", "f"), BooleanEntitlement)
        assert_type(engine.numeric_entitlement("c", "f").value, float | None)
        assert_type(engine.numeric_entitlement("c", "f"), NumericEntitlement)
        assert_type(engine.metered_entitlement("c", "f", requested_usage=1.5), MeteredEntitlement)
        assert_type(engine.metered_entitlement("c", "f").usage_period_end, datetime | None)
        assert_type(engine.enum_entitlement("c", "f", requested_values=["eu"]), EnumEntitlement)
        assert_type(engine.entitlements("c", resource="site-01"), Entitlements)
        assert_type(engine.entitlements("c").entitlements, tuple[Entitlement, ...])
        assert_type(engine.reload("c"), Entitlements)
        assert_type(engine.explain("c", feature="f"), Explanation)
        assert_type(engine.explain("c", currency="k"), Explanation)
        assert_type(engine.apply(policy, dry_run=True), list[Change])
        with engine.reserve("c", feature="f", amount=1.5, expires_in=60, metadata={"a": "b"}) as hold:
            assert_type(hold, Hold)
            assert_type(hold.count(5), float)
            assert_type(hold.settle(5), Reservation)
            assert_type(hold.extend(timedelta(minutes=5)).status, ReservationStatus)
        assert_type(engine.reserve("c", currency="k", id="x").require(), Hold)
        assert_type(hold.decision, Decision | None)
        assert_type(engine.reservations.get("c", "x").metadata, dict[str, str])
        assert_type(engine.reservations.settle("c", "x", 5), Reservation)
        assert_type(engine.reservations.sweep(), int)
        assert_type(engine.updates(), Iterator[Update])
        assert_type(engine.metrics, dict[str, int])

        feature = Feature(id="f", feature_type=FeatureType.NUMBER)
        assert_type(engine.catalog.put_features([feature, {"id": "g"}]), list[Feature])
        assert_type(engine.catalog.features(), dict[str, Feature])
        assert_type(engine.catalog.put_entity_types([EntityType(id="team")]), list[EntityType])
        assert_type(engine.catalog.entity_types(), dict[str, EntityType])
        assert_type(engine.catalog.put_currencies([Currency(id="k"), {"id": "l"}]), list[Currency])
        assert_type(engine.catalog.currencies(), dict[str, Currency])
        assert_type(engine.catalog.put_plans([Plan(id="p"), {"id": "q"}]), list[Plan])
        assert_type(engine.catalog.plans(), dict[str, Plan])
        assert_type(engine.catalog.put_addons([Addon(id="a")]), list[Addon])
        assert_type(engine.catalog.addons(), dict[str, Addon])
        assert_type(engine.customers.put("c", name="C", metadata={"a": "b"}), Customer)
        assert_type(engine.customers.get("c"), Customer)
        entitlement = PromotionalEntitlement(feature="f", usage_limit=5)
        assert_type(engine.customers.grant_entitlement("c", entitlement), PromotionalEntitlement)
        assert_type(engine.customers.entitlements("c"), dict[str, PromotionalEntitlement])
        assert_type(engine.customers.put_resource("c", "site-01", display_name="Site"), Resource)
        assert_type(engine.customers.resources("c"), list[Resource])
        assert_type(engine.subscriptions.provision("c", SubscriptionUpsert(plan="p")), Subscription)
        assert_type(engine.subscriptions.provision("c", {"plan": "p"}), Subscription)
        assert_type(engine.subscriptions.cancel("c", "p", at="period_end"), Subscription)
        assert_type(engine.subscriptions.cancel("c", "p", at=now, resource="site-01"), Subscription)
        assert_type(engine.subscriptions.get("c", "p"), Subscription)
        assert_type(engine.subscriptions.list("c", include_ended=True), list[Subscription])
        assert_type(engine.credits.grant("c", GrantRequest(currency="k", amount=5)), Grant)
        assert_type(engine.credits.void("c", "grant-1", currency="k"), Grant)
        assert_type(engine.credits.wallet("c", currency="k", resource=None), Wallet)
        assert_type(engine.credits.grants("c", currency="k"), list[GrantState])
        assert_type(engine.governance.put_entities("c", [EntityUpsert(id="e")]), list[Entity])
        upsert = AssignmentUpsert(entity="e", feature="f", usage_limit=None, cadence="P1M", parent=None)
        assert_type(engine.governance.put_assignments("c", [upsert, {"entity": "e"}]), list[Assignment])
        assert_type(engine.governance.archive("c", ["e"]), list[Entity])
        assert_type(engine.governance.entities("c", include_archived=True), list[Entity])
        assert_type(engine.governance.assignments("c"), list[EntityBudget])
        assert_type(engine.governance.tree("c", feature="f"), Tree)
        assert_type(engine.governance.tree("c", currency="k", resource="site-01").wallet, Wallet | None)


async def for_asyncio(policy: Policy) -> None:
    async with AsyncHeadgate.connect("redis://localhost") as engine:
        assert_type(engine, AsyncHeadgate)
        assert_type(await engine.check("c", feature="f"), Decision)
        assert_type(await engine.consume("c", feature="f", amount=0.5, dimensions=None), Decision)
        assert_type(await engine.report("c", feature="f", value=1), Receipt)
        assert_type(await engine.report_many([]), list[Receipt])
        async with engine.reserve("c", feature="f") as hold:
            assert_type(hold, AsyncHold)
            assert_type(hold.count(5), float)
            assert_type(await hold.settle(5), Reservation)
        assert_type(await engine.reserve("c", currency="k", amount=5), AsyncHold)
        assert_type(await engine.reservations.release("c", "x"), Reservation)
        assert_type(await engine.reservations.sweep(), int)
        assert_type(await engine.explain("c", feature="f"), Explanation)
        assert_type(await engine.metered_entitlement("c", "f"), MeteredEntitlement)
        assert_type(await engine.reload("c"), Entitlements)
        assert_type(await engine.apply(policy), list[Change])
        assert_type(engine.updates(), AsyncIterator[Update])
        assert_type(await engine.customers.get("c"), Customer)
        assert_type(await engine.catalog.plans(), dict[str, Plan])
        assert_type(await engine.subscriptions.list("c"), list[Subscription])
        assert_type(await engine.credits.wallet("c", currency="k"), Wallet)
        assert_type(await engine.governance.tree("c", feature="f"), Tree)
        async for update in engine.updates():
            assert_type(update.token, bytes)


async def offline(sso: OfflineEntitlement, clock: ManualClock) -> None:
    document = OfflineEntitlements(customers={"c": OfflineCustomer(entitlements={"f": sso})})
    assert_type(document.customers["c"].entitlements["f"].type, OfflineType)
    with OfflineHeadgate(document, clock=clock) as engine:
        assert_type(engine, OfflineHeadgate)
        stands_for: Headgate = engine
        assert_type(stands_for.metered_entitlement("c", "f", requested_usage=2), MeteredEntitlement)
        assert_type(engine.check("c", feature="f", dimensions={"teamId": "a"}), Decision)
        assert_type(engine.entitlements("c"), Entitlements)
        assert_type(engine.catalog.find(["f"]), dict[str, Feature | Currency])
        assert_type(engine.report("c", feature="f", value=1), Receipt)
    async with AsyncOfflineHeadgate(Path("entitlements.json")) as waiting:
        assert_type(waiting, AsyncOfflineHeadgate)
        assert_type(await waiting.boolean_entitlement("c", "f"), BooleanEntitlement)
        assert_type(await waiting.reload("c"), Entitlements)
        assert_type(await waiting.catalog.features(), dict[str, Feature])
    OfflineHeadgate({"customers": {}})
    OfflineHeadgate('{"customers": {}}')
    OfflineHeadgate(None)
    OfflineHeadgate(5)  # type: ignore[arg-type]
    OfflineHeadgate()  # type: ignore[call-arg]
    engine.governance.no_such_method()  # type: ignore[attr-defined]


def what_is_refused(engine: Headgate, error: LimitReached) -> None:
    assert_type(error.decision, Decision)
    engine.check("c", "f")  # type: ignore[call-arg]
    engine.check("c", feature=5)  # type: ignore[arg-type]
    engine.check("c", feature="f", dimensions={"teamId": None})  # type: ignore[dict-item]
    engine.consume("c", feature="f", amount="5")  # type: ignore[arg-type]
    engine.subscriptions.cancel("c", "p", at="later")  # type: ignore[arg-type]
    engine.credits.wallet("c", "k")  # type: ignore[call-arg]
    engine.reserve("c", feature="f").settle()  # type: ignore[call-arg]
    engine.reserve("c", feature="f", metadata={"a": 1})  # type: ignore[dict-item]
    engine.reservations.settle("c", 5, 1)  # type: ignore[arg-type]
    engine.report("c", feature="f")  # type: ignore[call-arg]
    Headgate.connect("redis://localhost", "production")  # type: ignore[call-arg]
    Settings(deadline=5)  # type: ignore[call-arg]
    AssignmentUpsert(entity="e", feature="f", limit=5)  # type: ignore[call-arg]
