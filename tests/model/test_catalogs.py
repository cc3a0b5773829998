"""What the model says at any instant, the engine says, for every customer of a generated catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headgate.clock import ManualClock
from model import commerce_words as words
from model.agreeing import Engine, same
from model.comparing import wrong_credits
from model.reference import Reference
from model.targets import ASYNC, IN_PROCESS, SYNC, Target
from model.vocabulary import FEATURES, STARTS_MS

CUSTOMERS = ("cus-1", "cus-2", "cus-3")
INSTANTS = 4


@dataclass(frozen=True, slots=True)
class World:
    """An engine and a model at one instant, to which everything is said twice."""

    engine: Engine
    model: Reference
    clock: ManualClock

    def go_to(self, now_ms: int) -> None:
        self.clock.set(now_ms)
        self.model.now_ms = now_ms

    def moved(self, given: Mapping[str, Any], *names: str) -> dict[str, Any]:
        """Make instants of what is given as distances from now."""
        instants = {name: given[name] + self.clock.now_ms for name in names if name in given}
        return {name: value for name, value in {**given, **instants}.items() if value is not None}


@contextmanager
def opened(target: Target, now_ms: int) -> Iterator[World]:
    clock = ManualClock(now_ms)
    engines = target.open_two(clock)
    try:
        yield World(engines[0], Reference(now_ms), clock)
    finally:
        for each in engines:
            each.close()
        target.forget()


def named(packages: st.SearchStrategy[dict[str, Any]], id: str) -> st.SearchStrategy[dict[str, Any]]:
    return packages.map(lambda package: {**package, "id": id})


customers = st.fixed_dictionaries(
    {
        "subscriptions": st.lists(words.subscriptions, max_size=3),
        "promotions": st.lists(words.promotions, max_size=2),
        "grants": st.lists(words.grants, max_size=3),
    }
)
catalogs = st.fixed_dictionaries(
    {
        "plans": st.tuples(*(named(words.plans, id) for id in words.PLANS)),
        "addons": st.tuples(*(named(words.addons, id) for id in words.ADDONS)),
        "edits": st.lists(words.plans, max_size=2),
        "customers": st.tuples(*(customers for _ in CUSTOMERS)),
    }
)
# A place among the instants at which something begins or ends, and a distance from it.
instants = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from((0, 0, -1, 1, 3_600_000))), min_size=INSTANTS, max_size=INSTANTS
)


def set_up(world: World, catalog: Mapping[str, Any]) -> None:
    """Write a catalog and its customers; what is refused by one is refused by the other."""
    engine, model = world.engine, world.model
    engine.catalog.put_features(list(FEATURES))
    model.put_features(FEATURES)
    engine.catalog.put_currencies(list(words.CURRENCIES))
    model.put_currencies(words.CURRENCIES)
    put_plans(world, catalog["plans"])
    same(lambda: engine.catalog.put_addons(catalog["addons"]), lambda: model.put_addons(catalog["addons"]))
    for customer, holdings in zip(CUSTOMERS, catalog["customers"], strict=True):
        engine.customers.put(customer)
        model.put_customer(customer)
        engine.customers.put_resource(customer, words.SITE)
        model.put_resource(customer, words.SITE)
        for each in holdings["subscriptions"]:
            provision(world, customer, world.moved(each, "start_ms", "end_ms", "trial_end_ms", "billing_anchor_ms"))
        for each in holdings["promotions"]:
            promote(world, customer, world.moved(each, "expires_at_ms"))
        for number, each in enumerate(holdings["grants"]):
            give(world, customer, {"id": f"grant-{number}", **world.moved(each, "effective_at_ms", "expires_at_ms")})


def provision(world: World, customer: str, given: Mapping[str, Any]) -> None:
    same(lambda: world.engine.subscriptions.provision(customer, given), lambda: world.model.provision(customer, given))


def promote(world: World, customer: str, given: Mapping[str, Any]) -> None:
    same(
        lambda: world.engine.customers.grant_entitlement(customer, given) and None,
        lambda: world.model.grant(customer, given),
    )


def give(world: World, customer: str, given: Mapping[str, Any]) -> None:
    same(lambda: world.engine.credits.grant(customer, given), lambda: world.model.give(customer, given))


def ask(world: World, verb: str, customer: str, **asked: Any) -> None:
    same(
        lambda: getattr(world.engine, verb)(customer, **asked),
        lambda: getattr(world.model, verb)(customer, **asked),
    )


def put_plans(world: World, plans: Sequence[Mapping[str, Any]]) -> None:
    same(lambda: world.engine.catalog.put_plans(plans), lambda: world.model.put_plans(plans))


def read(world: World, customer: str, **asked: Any) -> None:
    """Read a wallet and its ledger, and make their sums again."""
    wallet, ledger = world.engine.credits.wallet(customer, **asked), world.engine.credits.grants(customer, **asked)
    same(lambda: wallet, lambda: world.model.wallet(customer, **asked))
    same(lambda: ledger, lambda: world.model.grants(customer, **asked))
    assert not list(wrong_credits(wallet, ledger))


def everything_is_the_same(world: World, customer: str, resource: str | None) -> None:
    """All features and wallets of a customer, or of its site."""
    for feature in FEATURES:
        ask(world, "check", customer, feature=feature.id, resource=resource)
    ask(world, "entitlements", customer, resource=resource)
    for currency in (words.CREDITS, words.COINS):
        ask(world, "check", customer, currency=currency, resource=resource)
        ask(world, "consume", customer, currency=currency, resource=resource, amount=2.5)
        read(world, customer, currency=currency, resource=resource)


def hold(target: Target, start_ms: int, catalog: Mapping[str, Any], places: list[tuple[int, int]]) -> None:
    with opened(target, start_ms) as world:
        set_up(world, catalog)
        for number, (place, distance_ms) in enumerate(places):
            edges = sorted(world.model.instants_ms())
            now_ms = edges[place % len(edges)] + distance_ms if edges else start_ms + place * 86_400_000
            world.go_to(max(now_ms, 0))
            for plan in catalog["edits"][number : number + 1]:
                put_plans(world, [plan])
            for customer in CUSTOMERS:
                for resource in (None, words.SITE):
                    everything_is_the_same(world, customer, resource)


@pytest.mark.parametrize(
    ("target", "examples"),
    [(name, 10) for name in SYNC[:1]]
    + [(name, 5) for name in (*SYNC[1:], *ASYNC[-1:])]
    + [(name, 2) for name in IN_PROCESS],
    indirect=["target"],
)
def test_the_engine_says_what_the_model_says_at_any_instant(target: Target, examples: int) -> None:
    budget = settings(
        max_examples=examples,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )

    @budget
    @given(start_ms=st.sampled_from(STARTS_MS), catalog=catalogs, places=instants)
    def holds(start_ms: int, catalog: Mapping[str, Any], places: list[tuple[int, int]]) -> None:
        hold(target, start_ms, catalog, places)

    holds()
