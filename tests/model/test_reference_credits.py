"""The reference model on its own: grants, wallets, recurring credits and overdraft, followed on paper."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.errors import Conflict, InvalidInput, NotFound
from headgate.model.catalog import Currency, EntityType, Feature, FeatureType, MeterType
from headgate.model.credits import GrantStatus, Wallet
from headgate.model.decision import Decision, DeniedReason, Receipt
from model.reference import Reference

NOON_MS = 1_767_268_800_000  # 2026-01-01T12:00Z
DAY_MS = 86_400_000
FEBRUARY_MS = NOON_MS + 31 * DAY_MS
ACME, SITE = "cus-acme", "site-01"
CREDITS, TOKENS = "credits", "tokens"


def bank() -> Reference:
    """A customer with a currency, a team, and a plan that gives 100 credits a month for a feature at 0.1 a unit."""
    model = Reference(NOON_MS)
    model.put_entity_types([EntityType(id="team", attribution_keys=("teamId",))])
    model.put_features([Feature(id=TOKENS, feature_type=FeatureType.NUMBER, meter_type=MeterType.INCREMENTAL)])
    model.put_currencies([Currency(id=CREDITS)])
    put_plan(model, 100)
    model.put_customer(ACME)
    model.put_resource(ACME, SITE)
    model.put_entities(ACME, [{"id": "team-eng", "type": "team"}])
    return model


def put_plan(model: Reference, amount: float, **more: Any) -> None:
    rate = {"currency": CREDITS, "amount": 0.1}
    entitlement = {"feature": TOKENS, "has_unlimited_usage": True, "credit_rate": rate}
    credit = {"currency": CREDITS, "amount": amount, "cadence": "MONTH", **more}
    model.put_plans([{"id": "plan", "entitlements": [entitlement], "credits": [credit]}])


def give(model: Reference, id: str, amount: float, **more: Any) -> None:
    model.give(ACME, {"id": id, "currency": CREDITS, "amount": amount, **more})


def consume(model: Reference, amount: float, **more: Any) -> Decision:
    return model.consume(ACME, currency=CREDITS, amount=amount, **more)


def report(model: Reference, value: float, **more: Any) -> Receipt:
    return model.report(ACME, currency=CREDITS, value=value, **more)


def wallet(model: Reference, resource: str | None = None) -> Wallet:
    return model.wallet(ACME, currency=CREDITS, resource=resource)


def charged(answer: Decision | Receipt) -> dict[str | None, float]:
    return {each.grant: each.amount for each in answer.charges}


def amounts(model: Reference) -> dict[str, float]:
    return {each.id: each.amount for each in model.grants(ACME, currency=CREDITS)}


# --- given grants ---------------------------------------------------------------------------------------------------


def test_grants_are_burnt_by_priority_then_expiry_then_kind_then_age() -> None:
    model = bank()
    give(model, "e-for-ever", 1)
    give(model, "d-paid", 1, expires_at_ms=NOON_MS + 9)
    give(model, "c-promotional", 1, expires_at_ms=NOON_MS + 9, kind="PROMOTIONAL")
    give(model, "b-soonest", 1, expires_at_ms=NOON_MS + 8)
    give(model, "a-urgent", 1, priority=3)
    model.now_ms += 1
    give(model, "a-younger", 1)
    order = ["a-urgent", "b-soonest", "c-promotional", "d-paid", "e-for-ever", "a-younger"]
    assert [each.id for each in wallet(model).grants] == order
    assert list(charged(consume(model, 4.5))) == order[:5]


def test_a_consume_beyond_the_balance_is_refused_and_takes_nothing() -> None:
    model = bank()
    give(model, "grant", 10)
    refused = consume(model, 10.1)
    assert (refused.granted, refused.reason, refused.charges) == (False, DeniedReason.INSUFFICIENT_CREDITS, ())
    assert wallet(model).balance == 10
    granted = consume(model, 10)
    assert (granted.granted, charged(granted)) == (True, {"grant": 10})
    assert granted.binding is not None
    assert (granted.binding.name, granted.binding.limit, granted.binding.used) == ("wallet credits", 10, 10)


def test_a_grant_can_be_used_from_its_effect_to_the_millisecond_before_it_expires() -> None:
    model = bank()
    give(model, "grant", 10, effective_at_ms=NOON_MS + 5, expires_at_ms=NOON_MS + 8)
    found = []
    for offset_ms in (4, 5, 7, 8):
        model.now_ms = NOON_MS + offset_ms
        (state,) = model.grants(ACME, currency=CREDITS)
        found.append((state.status, wallet(model).balance, state.expired))
    assert found == [
        (GrantStatus.SCHEDULED, 0, 0),
        (GrantStatus.ACTIVE, 10, 0),
        (GrantStatus.ACTIVE, 10, 0),
        (GrantStatus.EXPIRED, 0, 10),
    ]


def test_a_grant_that_is_voided_is_voided_at_every_instant_and_keeps_what_it_gave() -> None:
    model = bank()
    give(model, "grant", 10)
    consume(model, 3)
    model.void(ACME, "grant", currency=CREDITS, resource=None)
    model.now_ms -= 1
    (state,) = model.grants(ACME, currency=CREDITS)
    assert (state.status, state.consumed, state.voided, state.left) == (GrantStatus.VOIDED, 3, 7, 0)
    assert not consume(model, 1)
    with pytest.raises(NotFound):
        model.void(ACME, "other", currency=CREDITS, resource=None)


def test_a_grant_that_is_given_twice_is_one_and_another_under_its_id_is_a_conflict() -> None:
    model = bank()
    give(model, "grant", 10)
    model.now_ms += DAY_MS
    give(model, "grant", 10)
    assert wallet(model).balance == 10
    with pytest.raises(Conflict):
        give(model, "grant", 11)
    with pytest.raises(InvalidInput):
        give(model, "wrong", 1, expires_at_ms=model.now_ms)


def test_the_65th_grant_that_has_not_ended_is_refused_and_recurring_ones_count() -> None:
    model = bank()
    model.provision(ACME, {"plan": "plan"})
    for number in range(63):
        give(model, f"grant-{number}", 1)
    with pytest.raises(InvalidInput):
        give(model, "one-more", 1)
    model.void(ACME, "grant-0", currency=CREDITS, resource=None)
    give(model, "one-more", 1)


# --- overdraft ------------------------------------------------------------------------------------------------------


def test_a_report_beyond_the_balance_is_overdraft_which_the_next_grant_pays_first() -> None:
    model = bank()
    give(model, "first", 10)
    assert charged(report(model, 25)) == {"first": 10, None: 15}
    assert wallet(model).balance == -15
    give(model, "second", 20)
    assert (wallet(model).balance, wallet(model).overdraft) == (5, 15)
    assert not consume(model, 5.1)
    assert wallet(model).overdraft == 15
    assert charged(consume(model, 5)) == {"second": 20, None: -15}
    assert (wallet(model).balance, wallet(model).overdraft) == (0, 0)


def test_nothing_is_no_more_than_a_balance_below_nothing() -> None:
    model = bank()
    report(model, 1)
    assert model.check(ACME, currency=CREDITS, requested_usage=0).reason is DeniedReason.INSUFFICIENT_CREDITS


def test_credits_given_back_reduce_overdraft_then_refill_the_grants_that_are_burnt_last() -> None:
    model = bank()
    give(model, "a", 10, priority=1)
    give(model, "b", 10, priority=2)
    report(model, 24)
    assert charged(report(model, -9)) == {"b": -5, None: -4}
    assert charged(report(model, -100)) == {"a": -10, "b": -5}
    assert charged(report(model, -1)) == {}
    assert (wallet(model).balance, wallet(model).overdraft) == (20, 0)


def test_a_soft_wallet_lends_what_it_has_not() -> None:
    model = bank()
    put_plan(model, 100, has_soft_limit=True)
    model.provision(ACME, {"plan": "plan"})
    decision = consume(model, 130)
    assert (decision.granted, decision.binding) == (True, None)
    assert charged(decision) == {"plan:credits:MONTH:0": 100, None: 30}
    model.now_ms = FEBRUARY_MS
    assert wallet(model).balance == 70
    assert charged(consume(model, 10)) == {"plan:credits:MONTH:1": 40, None: -30}


# --- recurring grants -----------------------------------------------------------------------------------------------


def test_a_recurring_grant_appears_with_its_period_and_expires_with_it() -> None:
    model = bank()
    model.provision(ACME, {"plan": "plan", "end_ms": FEBRUARY_MS + DAY_MS})
    consume(model, 30)
    model.now_ms = FEBRUARY_MS - 1
    assert wallet(model).balance == 70
    model.now_ms = FEBRUARY_MS
    january, february = model.grants(ACME, currency=CREDITS)
    assert (january.status, january.consumed, january.expired) == (GrantStatus.EXPIRED, 30, 70)
    assert (february.id, february.left, february.expires_at_ms) == ("plan:credits:MONTH:1", 100, FEBRUARY_MS + DAY_MS)
    model.now_ms += DAY_MS
    assert wallet(model).grants == ()
    assert len(model.grants(ACME, currency=CREDITS)) == 2


def test_a_subscription_that_begins_within_a_period_of_its_anchor_gives_that_period_in_full() -> None:
    model = bank()
    model.provision(ACME, {"plan": "plan", "billing_anchor_ms": FEBRUARY_MS})
    (first,) = model.grants(ACME, currency=CREDITS)
    assert (first.id, first.amount, first.effective_at_ms) == ("plan:credits:MONTH:-1", 100, NOON_MS)
    assert first.expires_at_ms == FEBRUARY_MS


def test_an_increase_counts_at_once_and_a_decrease_from_the_next_period() -> None:
    model = bank()
    model.provision(ACME, {"plan": "plan"})
    model.now_ms += DAY_MS
    put_plan(model, 150)
    assert wallet(model).balance == 150
    model.now_ms += DAY_MS
    put_plan(model, 40)
    assert wallet(model).balance == 150
    model.now_ms = FEBRUARY_MS
    assert amounts(model) == {"plan:credits:MONTH:0": 150, "plan:credits:MONTH:1": 40}


def test_addons_and_units_multiply_and_credits_of_the_subscriptions_own_replace_both() -> None:
    model = bank()
    put_plan(model, 100, per_unit=True)
    credit = {"currency": CREDITS, "amount": 5, "cadence": "MONTH"}
    model.put_addons([{"id": "pack", "credits": [credit, {**credit, "amount": 7, "cadence": "YEAR"}]}])
    model.provision(ACME, {"plan": "plan", "unit_quantity": 2, "addons": [{"addon": "pack", "quantity": 3}]})
    assert amounts(model) == {"plan:credits:MONTH:0": 215, "plan:credits:YEAR:0": 21}
    model.now_ms = FEBRUARY_MS + 1
    model.provision(ACME, {"plan": "plan", "credits": [{**credit, "amount": 1}]})
    assert amounts(model) == {"plan:credits:MONTH:0": 215, "plan:credits:YEAR:0": 21, "plan:credits:MONTH:1": 215}
    model.now_ms += 28 * DAY_MS
    assert amounts(model)["plan:credits:MONTH:2"] == 1


def test_a_clock_that_stepped_back_sees_the_credits_of_that_time() -> None:
    model = bank()
    model.provision(ACME, {"plan": "plan"})
    model.now_ms = FEBRUARY_MS
    consume(model, 60)
    model.now_ms -= 1
    assert wallet(model).balance == 100
    model.now_ms += 1
    assert wallet(model).balance == 40


def test_an_edit_by_a_clock_that_stepped_back_counts_at_once() -> None:
    model = bank()
    model.provision(ACME, {"plan": "plan"})
    model.now_ms += DAY_MS
    put_plan(model, 120)
    model.now_ms -= 1
    put_plan(model, 110)
    assert wallet(model).balance == 110


# --- a feature that is paid in credits ------------------------------------------------------------------------------


def test_a_feature_with_a_rate_is_counted_in_units_and_paid_in_credits() -> None:
    model = bank()
    model.provision(ACME, {"plan": "plan"})
    model.put_assignments(
        ACME,
        [
            {"entity": "team-eng", "feature": TOKENS, "usage_limit": 500, "cadence": "P1D"},
            {"entity": "team-eng", "currency": CREDITS, "usage_limit": 40, "cadence": "P1D"},
        ],
    )
    decision = model.consume(ACME, feature=TOKENS, amount=300, dimensions={"teamId": "team-eng"})
    assert decision.granted
    assert [(each.name, each.currency, each.used) for each in decision.constraints] == [
        ("account", None, 300),
        ("wallet credits", CREDITS, 30),
        ("team-eng", None, 300),
        ("team-eng", CREDITS, 30),
    ]
    refused = model.consume(ACME, feature=TOKENS, amount=101, dimensions={"teamId": "team-eng"})
    assert (refused.reason, refused.binding and refused.binding.currency) == (DeniedReason.BUDGET_EXCEEDED, CREDITS)
    assert model.consume(ACME, feature=TOKENS, amount=701).reason is DeniedReason.INSUFFICIENT_CREDITS
    assert charged(model.report(ACME, feature=TOKENS, value=-50)) == {"plan:credits:MONTH:0": -5}


def test_a_correction_gives_back_what_was_paid_for_the_units_that_it_takes_back() -> None:
    model = bank()
    model.provision(ACME, {"plan": "plan"})
    report(model, 50)
    model.report(ACME, feature=TOKENS, value=100)
    assert charged(model.report(ACME, feature=TOKENS, value=-400)) == {"plan:credits:MONTH:0": -10}
    assert wallet(model).balance == 50


def test_a_correction_that_is_dated_before_a_grant_does_not_go_to_it() -> None:
    model = bank()
    give(model, "early", 10, priority=1)
    give(model, "late", 10, effective_at_ms=NOON_MS + 5)
    model.now_ms += 5
    consume(model, 15)
    assert charged(report(model, -7, dated_ms=NOON_MS + 4)) == {"early": -7}
    assert charged(report(model, -7, dated_ms=NOON_MS + 5)) == {"early": -2, "late": -5}


def test_a_grant_never_says_less_than_was_used_of_it() -> None:
    model = bank()
    model.provision(ACME, {"plan": "plan"})
    consume(model, 70)
    put_plan(model, 20)
    (grant,) = model.grants(ACME, currency=CREDITS)
    assert (grant.amount, grant.consumed, grant.left) == (70, 70, 0)


def test_a_cost_is_rounded_half_up_to_five_decimals() -> None:
    model = bank()
    model.provision(ACME, {"plan": "plan"})
    assert charged(model.consume(ACME, feature=TOKENS, amount=0.00005)) == {"plan:credits:MONTH:0": 0.00001}
    assert charged(model.consume(ACME, feature=TOKENS, amount=0.00004)) == {}


def test_usage_that_is_set_is_refused_where_it_is_paid_and_no_rate_is_known_without_access() -> None:
    model = bank()
    subscription = model.provision(ACME, {"plan": "plan"})
    for feature, currency in ((TOKENS, None), (None, CREDITS)):
        with pytest.raises(InvalidInput):
            model.report(ACME, feature=feature, currency=currency, value=1, behavior="SET")
    model.cancel(ACME, subscription.id, at="now", resource=None)
    receipt = model.report(ACME, feature=TOKENS, value=7)
    assert (receipt.wallet, receipt.charges, receipt.account and receipt.account.state.used) == (None, (), 7)


def test_wallets_of_a_customer_and_of_a_resource_are_not_shared() -> None:
    model = bank()
    model.provision(ACME, {"plan": "plan"})
    model.provision(ACME, {"plan": "plan", "id": "plan", "resource": SITE})
    assert consume(model, 100, resource=SITE).granted
    assert (wallet(model).balance, wallet(model, SITE).balance) == (100, 0)
    assert model.consume(ACME, feature=TOKENS, resource=SITE).reason is DeniedReason.INSUFFICIENT_CREDITS


def test_credits_need_no_subscription_and_a_currency_has_to_be_known() -> None:
    model = bank()
    give(model, "grant", 1)
    assert consume(model, 1).granted
    assert model.check(ACME, currency="none").reason is DeniedReason.ENTITLEMENT_NOT_FOUND
    assert model.check(ACME, currency="none", resource="no").reason is DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND
    with pytest.raises(NotFound):
        model.report(ACME, currency="none", value=1)
    with pytest.raises(InvalidInput):
        model.check(ACME, feature=TOKENS, currency=CREDITS)


def test_on_a_tie_a_budget_binds_before_the_account_and_the_account_before_the_wallet() -> None:
    model = bank()
    rate = {"currency": CREDITS, "amount": 1}
    model.put_plans([{"id": "even", "entitlements": [{"feature": TOKENS, "usage_limit": 10, "credit_rate": rate}]}])
    model.provision(ACME, {"plan": "even"})
    give(model, "grant", 10)

    def binding() -> str | None:
        found = model.check(ACME, feature=TOKENS, dimensions={"teamId": "team-eng"}).binding
        return None if found is None else found.name

    assert binding() == "account"
    model.put_assignments(ACME, [{"entity": "team-eng", "currency": CREDITS, "usage_limit": 10, "cadence": "P1D"}])
    assert binding() == "team-eng"
    report(model, 1)
    assert binding() == "wallet credits"
