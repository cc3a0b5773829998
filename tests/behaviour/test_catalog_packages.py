"""Currencies, plans and add-ons: what is written, what is counted as a change, and what is refused whole."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import pytest

from behaviour.targets import NOW_MS, SERVERS, SETTINGS, Target
from behaviour.world import ENTITY_TYPES, FEATURES, REGIONS, RETENTION, SEATS, SSO, TOKENS
from headgate import (
    Addon,
    AsyncHeadgate,
    Behavior,
    CreditCadence,
    CreditRate,
    Currency,
    Headgate,
    InvalidInput,
    PackageEntitlement,
    Plan,
    RecurringCredit,
)
from headgate.cache import Catalog
from headgate.model.base import Strict
from headgate.model.packages import EARLIER_MAX

T = TypeVar("T", bound=Strict)

CREDITS: Final = "currency-api-credits"
MINUTES: Final = "currency-minutes"
PRO: Final = "plan-pro"
EXTRA_SEATS: Final = "addon-extra-seats"

CURRENCIES: Final[list[dict[str, Any]]] = [
    {
        "id": CREDITS,
        "display_name": "API credits",
        "description": "What calls cost",
        "symbol": "¢",
        "unit_singular": "credit",
        "unit_plural": "credits",
        "metadata": {"colour": "blue"},
    },
    {"id": MINUTES},
]
PRO_PLAN: Final[dict[str, Any]] = {
    "id": PRO,
    "display_name": "Pro",
    "description": "For teams",
    "metadata": {"tier": "2"},
    "product": "product-headroom",
    "entitlements": [
        {"feature": TOKENS, "usage_limit": 1_000, "reset_period": "MONTH", "reset_according_to": "StartOfTheMonth"},
        {"feature": SEATS, "usage_limit": 5, "per_unit": True, "has_soft_limit": True},
        {"feature": SSO},
        {"feature": RETENTION, "has_unlimited_usage": True},
        {"feature": REGIONS, "enum_values": ["eu", "us"]},
    ],
    "credits": [
        {"currency": CREDITS, "amount": 100, "cadence": "MONTH", "per_unit": True},
        {"currency": CREDITS, "amount": 500.5, "cadence": "YEAR", "has_soft_limit": True},
    ],
}
SEATS_ADDON: Final[dict[str, Any]] = {
    "id": EXTRA_SEATS,
    "entitlements": [
        {"feature": SEATS, "usage_limit": 10},
        {
            "feature": TOKENS,
            "usage_limit": 5_000,
            "behavior": "OVERRIDE",
            "credit_rate": {"currency": CREDITS, "amount": 0.25},
        },
    ],
    "credits": [{"currency": MINUTES, "amount": 60, "cadence": "MONTH"}],
}

IN_PROCESS: Final = pytest.mark.parametrize("target", ["sync-in-process", "async-in-process"], indirect=True)
"""For rules that no server knows of, where a test writes often."""


async def found_catalog(engine: AsyncHeadgate) -> None:
    await engine.catalog.put_features(FEATURES)
    await engine.catalog.put_entity_types(ENTITY_TYPES)
    await engine.catalog.put_currencies(CURRENCIES)


async def put_pro(engine: AsyncHeadgate, **changes: Any) -> Plan:
    (plan,) = await engine.catalog.put_plans([{**PRO_PLAN, **changes}])
    return plan


def written(kind: type[T], given: dict[str, Any]) -> T:
    """What is stored of something that was written at the first instant of the target's clock, and never again."""
    return kind.accept({**given, "created_at_ms": NOW_MS, "updated_at_ms": NOW_MS})


def gives(amount: float) -> list[dict[str, Any]]:
    return [{"currency": CREDITS, "amount": amount, "cadence": "MONTH"}]


def given(plan: Plan) -> tuple[list[float], list[tuple[int, list[float]]]]:
    """The amounts that a plan gives, and those that it gave until earlier instants."""
    return (
        [credit.amount for credit in plan.credits],
        [(each.until_ms, [credit.amount for credit in each.credits]) for each in plan.earlier_credits],
    )


async def test_currencies_plans_and_addons_are_read_as_they_were_written(target: Target, engine: AsyncHeadgate) -> None:
    await found_catalog(engine)
    plan = await put_pro(engine)
    (addon,) = await engine.catalog.put_addons([SEATS_ADDON])

    assert (plan.version, plan.product, plan.metadata) == (1, "product-headroom", {"tier": "2"})
    assert plan.entitlements[1] == PackageEntitlement(feature=SEATS, usage_limit=5, per_unit=True, has_soft_limit=True)
    assert plan.credits[1] == RecurringCredit(
        currency=CREDITS, amount=500.5, cadence=CreditCadence.YEAR, has_soft_limit=True
    )
    assert addon.entitlements[1].behavior is Behavior.OVERRIDE
    assert addon.entitlements[1].credit_rate == CreditRate(currency=CREDITS, amount=0.25)
    for reader in (engine, target.open()):
        assert list((await reader.catalog.currencies()).values()) == [written(Currency, each) for each in CURRENCIES]
        assert await reader.catalog.plans() == {PRO: plan}
        assert await reader.catalog.addons() == {EXTRA_SEATS: addon}
        assert set(await reader.catalog.features()) == {each["id"] for each in FEATURES}
        assert set(await reader.catalog.entity_types()) == {each["id"] for each in ENTITY_TYPES}


async def test_an_environment_can_begin_with_a_currency_or_a_plan(target: Target, engine: AsyncHeadgate) -> None:
    assert target.dump() == {}
    assert await engine.catalog.put_currencies([{"id": CREDITS}]) == [written(Currency, {"id": CREDITS})]
    (plan,) = await engine.catalog.put_plans([Plan(id="plan-empty", version=7)])
    assert plan == written(Plan, {"id": "plan-empty", "version": 1})
    (addon,) = await engine.catalog.put_addons([Addon(id="addon-empty")])
    assert addon == written(Addon, {"id": "addon-empty", "version": 1})


async def test_a_package_that_is_written_again_as_it_is_writes_nothing(target: Target, engine: AsyncHeadgate) -> None:
    await found_catalog(engine)
    plan = await put_pro(engine)
    plan = await put_pro(engine, credits=gives(1))
    (addon,) = await engine.catalog.put_addons([SEATS_ADDON])
    before = target.dump()
    target.clock.advance(5)

    assert await engine.catalog.put_currencies(CURRENCIES) == [written(Currency, each) for each in CURRENCIES]
    assert await put_pro(engine, credits=gives(1)) == plan
    assert await put_pro(engine, credits=gives(1), version=9, earlier_credits=[]) == plan
    assert await engine.catalog.put_plans([plan]) == [plan]
    assert await engine.catalog.put_addons([addon]) == [addon]
    assert target.dump() == before


async def test_each_real_change_counts_the_version_up_whatever_version_was_given(engine: AsyncHeadgate) -> None:
    await found_catalog(engine)
    assert (await put_pro(engine, version=40)).version == 1
    assert (await put_pro(engine, display_name="Pro II", version=40)).version == 2
    assert (await put_pro(engine, display_name="Pro II", version=1)).version == 2
    assert (await put_pro(engine)).version == 3
    assert (await engine.catalog.plans())[PRO].version == 3
    (addon,) = await engine.catalog.put_addons([SEATS_ADDON])
    (addon,) = await engine.catalog.put_addons([{**SEATS_ADDON, "description": "Ten more"}])
    assert (addon.version, (await engine.catalog.addons())[EXTRA_SEATS]) == (2, addon)


async def test_what_a_plan_gave_is_remembered_with_the_servers_instant(target: Target, engine: AsyncHeadgate) -> None:
    await found_catalog(engine)
    plan = await put_pro(engine, credits=gives(10), earlier_credits=[{"until_ms": 5, "credits": gives(1)}])
    assert given(plan) == ([10], [])
    target.clock.advance(1_000)
    plan = await put_pro(engine, credits=gives(10), display_name="Pro II")
    assert given(plan) == ([10], [])
    plan = await put_pro(engine, credits=gives(20))
    assert given(plan) == ([20], [(NOW_MS + 1_000, [10])])
    target.clock.advance(1_000)
    plan = await put_pro(target.open(), credits=[])
    assert given(plan) == ([], [(NOW_MS + 1_000, [10]), (NOW_MS + 2_000, [20])])
    assert (await engine.catalog.plans())[PRO] == plan
    assert [plan.credits_at(NOW_MS + ms) for ms in (0, 999)] == [plan.earlier_credits[0].credits] * 2
    assert [credit.amount for credit in plan.credits_at(NOW_MS + 1_000)] == [20]
    assert plan.credits_at(NOW_MS + 2_000) == ()


async def test_what_a_plan_gave_for_no_time_at_all_is_not_remembered(target: Target, engine: AsyncHeadgate) -> None:
    await found_catalog(engine)
    await put_pro(engine, credits=gives(10))
    await put_pro(engine, credits=gives(20))
    plan = await put_pro(engine, credits=gives(30))
    assert given(plan) == ([30], [(NOW_MS, [10])])
    target.clock.set(NOW_MS - 5_000)
    plan = await put_pro(engine, credits=gives(40))
    # What was written last holds from its own instant on, though a clock that is ahead had written later ones.
    assert (plan.version, *given(plan)) == (4, [40], [(NOW_MS - 5_000, [10])])


@pytest.mark.parametrize("target", [f"sync-{where}" for where in (*SERVERS, "cluster")], indirect=True)
async def test_without_a_simulated_clock_the_instant_is_that_of_the_server(target: Target) -> None:
    def server_ms() -> int:
        seconds, microseconds = target.redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    with Headgate.connect(target.url, environment=target.environment, settings=SETTINGS) as engine:
        engine.catalog.put_currencies(CURRENCIES)
        engine.catalog.put_plans([{"id": PRO, "credits": gives(10)}])
        before_ms = server_ms()
        (plan,) = engine.catalog.put_plans([{"id": PRO, "credits": gives(20)}])
        (earlier,) = plan.earlier_credits
        assert before_ms <= earlier.until_ms <= server_ms()


@IN_PROCESS
async def test_the_oldest_changes_of_credits_are_forgotten_first(target: Target, engine: AsyncHeadgate) -> None:
    await found_catalog(engine)
    for amount in range(1, EARLIER_MAX + 3):
        await put_pro(engine, credits=gives(amount))
        target.clock.advance(1)
    (present,), earlier = given((await engine.catalog.plans())[PRO])
    assert present == EARLIER_MAX + 2
    assert earlier == [(NOW_MS + amount, [amount]) for amount in range(2, EARLIER_MAX + 2)]


async def test_two_who_change_a_plan_at_once_both_count(target: Target, engine: AsyncHeadgate) -> None:
    await found_catalog(engine)
    await put_pro(engine, credits=gives(10))
    other = target.open_blocking()
    target.clock.advance(10)
    target.before("write_catalog", lambda: other.catalog.put_plans([{**PRO_PLAN, "credits": gives(20)}]))
    plan = await put_pro(engine, credits=gives(30))
    assert (plan.version, *given(plan)) == (3, [30], [(NOW_MS + 10, [10])])

    target.before("write_catalog", lambda: other.catalog.put_currencies([{"id": "currency-other"}]))
    plan = await put_pro(engine, display_name="Pro II", credits=gives(30))
    assert plan.version == 4
    assert set(await engine.catalog.currencies()) == {CREDITS, MINUTES, "currency-other"}


async def test_a_plan_is_written_without_a_look_at_any_customer(target: Target, engine: AsyncHeadgate) -> None:
    await found_catalog(engine)
    await put_pro(engine)
    for number in range(3):
        await engine.customers.put(f"cus-{number}")
    target.scripts_sent()
    before = target.dump()
    await put_pro(engine, display_name="Pro II")
    assert set(target.scripts_sent()) == {"read_catalog", "open_environment", "write_catalog", "raise_partition"}
    changed = {key for key, value in target.dump().items() if before.get(key) != value}
    assert [key for key in sorted(changed) if not key.endswith(b":catalog")] == []


ENTITLEMENTS: Final[list[tuple[str, dict[str, Any], str, object, str]]] = [
    ("an unknown feature", {"feature": "feature-none"}, "feature", "feature-none", "there is no such feature"),
    ("a number without a limit", {"feature": TOKENS}, "usage_limit", None, "'feature-ai-tokens' is a number"),
    ("a limit of a boolean", {"feature": SSO, "usage_limit": 1}, "usage_limit", 1.0, "it has no limit"),
    ("an unlimited boolean", {"feature": SSO, "has_unlimited_usage": True}, "usage_limit", "unlimited", "it has no"),
    (
        "a reset of what has no meter",
        {"feature": RETENTION, "usage_limit": 1, "reset_period": "DAY"},
        "reset_period",
        "DAY",
        "is not metered: there is nothing to reset or exceed",
    ),
    (
        "a soft limit of what has no meter",
        {"feature": SSO, "has_soft_limit": True},
        "reset_period",
        "soft limit",
        "is not metered",
    ),
    (
        "a value that is not offered",
        {"feature": REGIONS, "enum_values": ["eu", "mars"]},
        "enum_values",
        ["mars"],
        "'feature-regions' offers eu, us, asia: give one or more of them",
    ),
    ("no value of an enum", {"feature": REGIONS}, "enum_values", (), "offers eu, us, asia"),
    (
        "values of what has none",
        {"feature": SSO, "enum_values": ["eu"]},
        "enum_values",
        ("eu",),
        "is BOOLEAN: it has no values",
    ),
    (
        "a rate in an unknown currency",
        {"feature": TOKENS, "usage_limit": 1, "credit_rate": {"currency": "currency-none", "amount": 1}},
        "credit_rate.currency",
        "currency-none",
        "there is no such currency",
    ),
    (
        "a rate of what has no meter",
        {"feature": RETENTION, "usage_limit": 1, "credit_rate": {"currency": CREDITS, "amount": 1}},
        "credit_rate",
        CREDITS,
        "is not metered: there is no usage to pay for",
    ),
]


@pytest.mark.parametrize("package", ["plans", "addons"])
@pytest.mark.parametrize(
    ("entitlement", "field", "value", "rule"),
    [pytest.param(*case, id=name) for name, *case in ENTITLEMENTS],
)
@IN_PROCESS
async def test_an_entitlement_that_does_not_fit_is_refused(
    target: Target, package: str, entitlement: dict[str, Any], field: str, value: object, rule: str
) -> None:
    await found_catalog(target.engine)
    put: Any = getattr(target.engine.catalog, f"put_{package}")
    before = target.dump()
    with pytest.raises(InvalidInput) as caught:
        await put(
            [{"id": "first"}, {"id": "second", "entitlements": [{"feature": SEATS, "usage_limit": 1}, entitlement]}]
        )
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == (f"{package}[1].entitlements[1].{field}", value)
    assert rule in problem.rule
    assert target.dump() == before


async def test_what_only_plans_or_only_addons_may_say_is_refused_elsewhere(engine: AsyncHeadgate) -> None:
    await found_catalog(engine)
    seats = {"feature": SEATS, "usage_limit": 1}
    with pytest.raises(InvalidInput, match=r"^plans\[0\]\.entitlements\[0\]\.behavior: 'OVERRIDE': a plan has nothing"):
        await engine.catalog.put_plans([{"id": PRO, "entitlements": [{**seats, "behavior": "OVERRIDE"}]}])
    with pytest.raises(InvalidInput, match=r"^addons\[0\]: .*per_unit: what an add-on gives is multiplied"):
        await engine.catalog.put_addons([{"id": EXTRA_SEATS, "entitlements": [{**seats, "per_unit": True}]}])
    with pytest.raises(InvalidInput, match=r"^plans\[0\]\.entitlements\[0\]\.per_unit: True: 'feature-sso' is BOOLEAN"):
        await engine.catalog.put_plans([{"id": PRO, "entitlements": [{"feature": SSO, "per_unit": True}]}])
    assert await engine.catalog.plans() == {}
    assert await engine.catalog.addons() == {}


async def test_all_problems_of_a_batch_are_told_at_once_and_nothing_of_it_is_written(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_catalog(engine)
    before = target.dump()
    plans = [
        PRO_PLAN,
        {
            "id": "plan-wrong",
            "entitlements": [{"feature": "feature-none"}, {"feature": TOKENS, "behavior": "OVERRIDE"}],
            "credits": [*gives(1), {"currency": "currency-none", "amount": 1, "cadence": "YEAR"}],
        },
        {"id": "plan-also-wrong", "entitlements": [{"feature": SSO, "usage_limit": 1, "per_unit": True}]},
    ]
    with pytest.raises(InvalidInput) as caught:
        await engine.catalog.put_plans(plans)
    assert [problem.field for problem in caught.value.problems] == [
        "plans[1].entitlements[0].feature",
        "plans[1].entitlements[1].usage_limit",
        "plans[1].entitlements[1].behavior",
        "plans[1].credits[1].currency",
        "plans[2].entitlements[0].usage_limit",
        "plans[2].entitlements[0].per_unit",
    ]
    with pytest.raises(InvalidInput) as caught:
        await engine.catalog.put_plans([{"id": "!"}, PRO_PLAN, {"id": "p", "credits": [{**gives(1)[0], "amount": 0}]}])
    assert [problem.field for problem in caught.value.problems] == ["plans[0].id", "plans[2].credits[0].amount"]
    assert target.dump() == before


@IN_PROCESS
async def test_a_batch_has_1_to_100_documents_each_of_an_id_of_its_own(target: Target) -> None:
    catalog: Any = target.engine.catalog
    await catalog.put_currencies([{"id": f"c-{number}"} for number in range(100)])
    assert len(await catalog.currencies()) == 100
    before = target.dump()
    for name in ("currencies", "plans", "addons"):
        put = getattr(catalog, f"put_{name}")
        for count in (0, 101):
            with pytest.raises(InvalidInput, match=rf"^{name}: {count}: one call takes 1 to 100$"):
                await put([{"id": f"id-{number}"} for number in range(count)])
        with pytest.raises(
            InvalidInput, match=rf"^{name}\[0\]\.id: 'a': .*; {name}\[2\]\.id: 'a': is in the list more"
        ):
            await put([{"id": "a"}, {"id": "b"}, {"id": "a"}])
        with pytest.raises(InvalidInput, match=rf"^{name}: 'plan': must be a list of"):
            await put("plan")
    assert target.dump() == before


def test_a_catalog_knows_every_currency_that_a_feature_may_be_paid_in() -> None:
    def paid(feature: str, currency: str | None) -> PackageEntitlement:
        rate = currency and CreditRate(currency=currency, amount=1)
        return PackageEntitlement(feature=feature, usage_limit=1, credit_rate=rate or None)

    catalog = Catalog.of(
        b"token",
        plans=[
            Plan(id="p1", entitlements=(paid("f", "c2"), paid("g", None))),
            Plan(id="p2", entitlements=(paid("f", "c2"), paid("h", "c1"))),
        ],
        addons=[Addon(id="a", entitlements=(paid("f", "c1"),))],
    )
    assert dict(catalog.currencies_of) == {"f": ("c1", "c2"), "h": ("c1",)}


async def test_the_order_in_which_a_plan_names_things_is_no_change(target: Target) -> None:
    terms = [{"feature": "feature-a", "usage_limit": 1}, {"feature": "feature-b", "usage_limit": 2}]
    credits = [
        {"currency": "credits-a", "amount": 1, "cadence": "MONTH"},
        {"currency": "credits-b", "amount": 2, "cadence": "MONTH"},
    ]
    kind = {"feature_type": "NUMBER", "meter_type": "INCREMENTAL"}
    await target.engine.catalog.put_features([{"id": each["feature"], **kind} for each in terms])
    await target.engine.catalog.put_currencies([{"id": each["currency"]} for each in credits])
    for given in (
        {"entitlements": terms, "credits": credits},
        {"entitlements": terms[::-1], "credits": credits},
        {"entitlements": terms, "credits": credits[::-1]},
    ):
        (plan,) = await target.engine.catalog.put_plans([{"id": "plan-pro", **given}])
        assert (plan.version, plan.earlier_credits) == (1, ())
