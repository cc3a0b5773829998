"""The reference model on its own: what is held, settled, freed and repeated, followed on paper."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from headgate.errors import Conflict, NotFound
from headgate.model.catalog import Currency, EntityType, Feature, FeatureType, MeterType
from headgate.model.decision import DeniedReason
from headgate.model.reservation import Reservation, ReservationStatus
from model.reference import RETENTION_MS, Reference

NOON_MS = 1_767_268_800_000  # 2026-01-01T12:00Z
MINUTE_MS, DAY_MS = 60_000, 86_400_000
ACME, CREDITS, TOKENS = "cus-acme", "credits", "tokens"
ENG = {"teamId": "team-eng"}


def office(limit: float = 100, *, rate: float | None = None) -> Reference:
    """A customer with a limit of 1,000 tokens a day, a team with one of its own, and a currency."""
    model = Reference(NOON_MS)
    model.put_entity_types([EntityType(id="team", attribution_keys=("teamId",))])
    model.put_features([Feature(id=TOKENS, feature_type=FeatureType.NUMBER, meter_type=MeterType.INCREMENTAL)])
    model.put_currencies([Currency(id=CREDITS)])
    put_plan(model, rate)
    model.put_customer(ACME)
    model.provision(ACME, {"plan": "plan"})
    model.put_entities(ACME, [{"id": "team-eng", "type": "team"}, {"id": "team-ops", "type": "team"}])
    for team in ("team-eng", "team-ops"):
        budget = {"entity": team, "feature": TOKENS, "usage_limit": limit, "cadence": "PT1H"}
        model.put_assignments(ACME, [budget])
    return model


def put_plan(model: Reference, rate: float | None, **credit: Any) -> None:
    tokens: dict[str, Any] = {"feature": TOKENS, "usage_limit": 1_000, "reset_period": "DAY"}
    if rate is not None:
        tokens["credit_rate"] = {"currency": CREDITS, "amount": rate}
    credits = [{"currency": CREDITS, "cadence": "MONTH", **credit}] if credit else []
    model.put_plans([{"id": "plan", "entitlements": [tokens], "credits": credits}])


def hold(model: Reference, amount: float, id: str = "hold", **more: Any) -> Reservation:
    named = {"feature": TOKENS} if "currency" not in more else {}
    return model.reserve(ACME, id=id, amount=amount, **{**named, "dimensions": ENG, "expires_in": 60, **more})


def settle(model: Reference, amount: int, id: str = "hold") -> Reservation:
    return model.settle(ACME, id, Fraction(amount))


def numbers(model: Reference) -> dict[str, tuple[float, float]]:
    """What is used and held of the account and of each team."""
    tree = model.tree(ACME, feature=TOKENS)
    states = [tree.account, *(state for node in tree.roots for state in node.states)]
    return {state.name: (state.used, state.held) for state in states if state is not None}


def consumed(model: Reference) -> dict[str, tuple[float, float]]:
    return {each.id: (each.consumed, each.held) for each in model.grants(ACME, currency=CREDITS)}


def purse(model: Reference) -> tuple[float, float, float]:
    wallet = model.wallet(ACME, currency=CREDITS)
    return wallet.balance, wallet.held, wallet.overdraft


def give(model: Reference, *amounts: float) -> None:
    for place, amount in enumerate(amounts):
        model.give(ACME, {"id": f"g{place}", "currency": CREDITS, "amount": amount, "priority": place})


# --- counters -------------------------------------------------------------------------------------------------------


def test_what_is_held_is_in_the_way_until_it_is_settled_for_less() -> None:
    model = office()
    assert hold(model, 75).granted
    assert numbers(model) == {"account": (0, 75), "team-eng": (0, 75), "team-ops": (0, 0)}
    assert not model.consume(ACME, feature=TOKENS, amount=26, dimensions=ENG)
    assert model.consume(ACME, feature=TOKENS, amount=25, dimensions=ENG)
    assert settle(model, 30).status is ReservationStatus.SETTLED
    assert numbers(model)["team-eng"] == (55, 0)


def test_of_twenty_times_75_against_500_six_are_held() -> None:
    model = office(500)
    assert [hold(model, 75, f"hold-{number}").granted for number in range(20)] == [True] * 6 + [False] * 14
    assert numbers(model)["team-eng"] == (0, 450)


def test_a_refusal_takes_no_id_and_says_what_refused() -> None:
    model = office(10)
    refused = hold(model, 11)
    assert refused.status is ReservationStatus.REFUSED
    assert refused.decision is not None
    assert refused.decision.reason is DeniedReason.BUDGET_EXCEEDED
    assert hold(model, 10).granted


def test_an_id_is_one_request_and_an_end_is_one_end() -> None:
    model = office()
    first = hold(model, 75)
    assert first.decision is not None
    assert hold(model, 75).decision is None
    with pytest.raises(Conflict):
        hold(model, 74)
    assert settle(model, 30) == settle(model, 30)
    with pytest.raises(Conflict):
        settle(model, 31)
    with pytest.raises(Conflict):
        model.release(ACME, "hold")
    with pytest.raises(Conflict):
        model.extend(ACME, "hold", 1)
    assert hold(model, 75).settled == 30
    assert numbers(model)["account"] == (30, 0)
    with pytest.raises(NotFound):
        model.get(ACME, "another")


def test_a_hold_belongs_to_the_period_it_was_taken_in() -> None:
    model = office()
    for id in ("early", "late"):
        hold(model, 20, id, expires_in=86_400)
    model.now_ms += 59 * MINUTE_MS
    settle(model, 5, "early")
    assert numbers(model)["team-eng"] == (5, 20)
    model.now_ms += MINUTE_MS
    assert numbers(model)["team-eng"] == (0, 20)
    model.report(ACME, feature=TOKENS, value=1, dimensions=ENG)
    settle(model, 7, "late")
    assert numbers(model) == {"account": (13, 0), "team-eng": (1, 0), "team-ops": (0, 0)}


def test_an_end_does_not_ask_what_applies_now() -> None:
    model = office()
    hold(model, 20)
    model.put_assignments(ACME, [{"entity": "team-eng", "feature": TOKENS, "usage_limit": 0, "parent": "team-ops"}])
    model.set_archived(ACME, ["team-eng"], archived=True)
    model.set_customer_archived(ACME, archived=True)
    settle(model, 30)
    model.set_archived(ACME, ["team-eng"], archived=False)
    (team_ops,) = model.tree(ACME, feature=TOKENS).roots
    assert [(each.used, each.held) for each in team_ops.children[0].states] == [(30, 0)]
    assert [(each.used, each.held) for each in team_ops.states] == [(0, 0)]


# --- expiry ---------------------------------------------------------------------------------------------------------


def test_whoever_would_be_refused_frees_what_has_expired_and_a_grant_frees_nothing() -> None:
    model = office()
    hold(model, 75)
    hold(model, 10, "other", dimensions={"teamId": "team-ops"})
    model.now_ms += MINUTE_MS - 1
    assert not model.check(ACME, feature=TOKENS, requested_usage=26, dimensions=ENG)
    model.now_ms += 1
    assert model.check(ACME, feature=TOKENS, requested_usage=25, dimensions=ENG)
    assert numbers(model)["account"] == (0, 85)
    assert model.get(ACME, "hold").status is ReservationStatus.EXPIRED
    assert model.check(ACME, feature=TOKENS, requested_usage=26, dimensions=ENG)
    assert numbers(model)["account"] == (0, 0)
    assert model.sweep() == 0


def test_a_late_settle_counts_and_one_before_the_sweep_is_not_freed_again() -> None:
    model = office()
    hold(model, 75)
    hold(model, 20, "other")
    model.now_ms += MINUTE_MS
    settle(model, 30)
    assert (numbers(model)["team-eng"], model.sweep()) == ((30, 20), 1)
    settle(model, 4, "other")
    assert numbers(model)["team-eng"] == (34, 0)


def test_a_hold_that_is_extended_lasts_from_then_on_and_a_freed_one_stays_so_when_the_clock_steps_back() -> None:
    model = office()
    hold(model, 75)
    model.now_ms += MINUTE_MS - 1
    assert model.extend(ACME, "hold", 2 * MINUTE_MS).expires_at_ms == NOON_MS + 3 * MINUTE_MS - 1
    model.now_ms += 2 * MINUTE_MS
    assert model.get(ACME, "hold").status is ReservationStatus.EXPIRED
    model.now_ms -= 1
    assert (model.get(ACME, "hold").status, model.sweep()) == (ReservationStatus.OPEN, 0)
    model.now_ms += 1
    assert model.sweep() == 1
    model.now_ms -= 1
    assert model.get(ACME, "hold").status is ReservationStatus.EXPIRED
    with pytest.raises(Conflict):
        model.extend(ACME, "hold", MINUTE_MS)


def test_a_sweep_forgets_what_ended_a_day_ago() -> None:
    model = office()
    hold(model, 75)
    settle(model, 75)
    model.now_ms += DAY_MS - 1
    model.sweep()
    assert model.get(ACME, "hold").settled == 75
    model.now_ms += 1
    model.sweep()
    with pytest.raises(NotFound):
        model.get(ACME, "hold")
    assert hold(model, 1).granted


# --- wallets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "of_grants", "owed"),
    [(0, (0, 0, 0), 0), (4, (4, 0, 0), 0), (25, (10, 15, 0), 0), (31, (10, 20, 1), 0), (64, (10, 20, 30), 4)],
)
def test_credits_are_paid_with_what_was_held_then_out_of_live_grants_and_the_rest_is_owed(
    used: int, of_grants: tuple[float, ...], owed: float
) -> None:
    model = office()
    give(model, 10, 20, 30)
    assert hold(model, 25, currency=CREDITS).granted
    assert list(consumed(model).values()) == [(0, 10), (0, 15), (0, 0)]
    assert purse(model) == (35, 25, 0)
    settle(model, used)
    assert list(consumed(model).values()) == [(each, 0) for each in of_grants]
    assert purse(model) == (60 - used, 0, owed)


def test_a_late_settle_is_paid_by_live_grants_and_a_voided_one_pays_what_was_held_of_it() -> None:
    model = office()
    give(model, 10, 20)
    hold(model, 15, currency=CREDITS)
    hold(model, 5, "late", currency=CREDITS)
    model.void(ACME, "g0", currency=CREDITS, resource=None)
    assert purse(model) == (10, 10, 0)
    settle(model, 4)
    assert consumed(model) == {"g0": (4, 0), "g1": (0, 5)}
    model.now_ms += MINUTE_MS
    model.sweep()
    settle(model, 5, "late")
    assert (consumed(model)["g1"], purse(model)) == ((5, 0), (15, 0, 0))


def test_units_are_held_on_counters_and_their_credits_at_the_rate_of_then() -> None:
    model = office(rate=0.1)
    give(model, 10)
    assert hold(model, 80).credits == 8
    assert (numbers(model)["team-eng"], purse(model)) == ((0, 80), (2, 8, 0))
    put_plan(model, 5)
    settle(model, 50)
    assert (numbers(model)["team-eng"], purse(model)) == ((50, 0), (5, 0, 0))


def test_of_a_soft_wallet_only_what_it_has_is_held_and_what_is_owed_is_paid_first() -> None:
    model = office()
    put_plan(model, None, amount=10, has_soft_limit=True)
    model.report(ACME, currency=CREDITS, value=13)
    assert purse(model) == (-3, 0, 3)
    give(model, 7)
    assert hold(model, 14, currency=CREDITS).granted
    assert purse(model) == (0, 4, 0)
    settle(model, 12)
    assert purse(model) == (-8, 0, 8)


# --- idempotency keys -----------------------------------------------------------------------------------------------


def test_what_has_a_key_is_carried_out_once() -> None:
    model = office()
    for times in range(3):
        decision = model.consume(ACME, feature=TOKENS, amount=60, dimensions=ENG, key="job")
        receipt = model.report(ACME, feature=TOKENS, value=5, dimensions=ENG, key="job")
        assert (decision.granted, decision.repeated, receipt.repeated) == (True, times > 0, times > 0)
    assert numbers(model)["team-eng"] == (65, 0)
    with pytest.raises(Conflict):
        model.consume(ACME, feature=TOKENS, amount=61, dimensions=ENG, key="job")
    model.set_customer_archived(ACME, archived=True)
    assert model.consume(ACME, feature=TOKENS, amount=60, dimensions=ENG, key="job").repeated
    assert not model.consume(ACME, feature=TOKENS, amount=60, dimensions=ENG, key="another")


def test_a_refusal_burns_no_key() -> None:
    model = office(10)
    assert not model.consume(ACME, feature=TOKENS, amount=11, dimensions=ENG, key="job")
    assert model.consume(ACME, feature=TOKENS, amount=10, dimensions=ENG, key="job").granted


@pytest.mark.parametrize(
    ("at", "known"),
    [
        (lambda start_ms: start_ms, True),
        (lambda start_ms: start_ms + 2 * RETENTION_MS - 1, True),
        (lambda start_ms: start_ms + 2 * RETENTION_MS, False),
        (lambda start_ms: start_ms - RETENTION_MS, True),
        (lambda start_ms: start_ms - RETENTION_MS - 1, False),
    ],
)
def test_a_key_is_known_in_its_generation_and_in_those_beside_it(at: Callable[[int], int], known: bool) -> None:
    model = office()
    model.report(ACME, feature=TOKENS, value=1, key="job")
    model.now_ms = at(NOON_MS // RETENTION_MS * RETENTION_MS)
    assert model.report(ACME, feature=TOKENS, value=1, key="job").repeated is known
