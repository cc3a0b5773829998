"""Bad input to subscriptions, grants and resources: one clear error that names field, value and rule.

What can be known here is refused before anything is sent; of what only the server knows, nothing is written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from behaviour.commerce import BASIC, COINS, CREDITS, MORE_CREDITS, PRO, SITE, found_shop, in_days
from behaviour.targets import BOTH_EDGES, NOW_MS, Target
from behaviour.world import ACME, REGIONS, SEATS, SSO, TOKENS
from headgate import InvalidInput, NotFound, PackageEntitlement

AnyEngine = Any
Act = Callable[[AnyEngine], Awaitable[object]]

ID_RULE = "an id has 1 to 255 of the characters"
NEGATIVE = "the least is 0"


def provision(**given: object) -> Act:
    return lambda engine: engine.subscriptions.provision(ACME, {"plan": BASIC, **given})


def entitle(*entitlements: dict[str, object]) -> Act:
    return provision(entitlements=list(entitlements))


def own_credits(*credits: dict[str, object]) -> Act:
    return provision(credits=[{"currency": CREDITS, "amount": 1, "cadence": "MONTH", **each} for each in credits])


def cancel(**given: object) -> Act:
    return lambda engine: engine.subscriptions.cancel(ACME, BASIC, **given)


def grant(**given: object) -> Act:
    return lambda engine: engine.credits.grant(ACME, {"currency": CREDITS, "amount": 1, **given})


def void(grant_id: object, **given: object) -> Act:
    return lambda engine: engine.credits.void(ACME, grant_id, **{"currency": CREDITS, **given})


def put_resource(resource: object = SITE, **given: object) -> Act:
    return lambda engine: engine.customers.put_resource(ACME, resource, **given)


# What is done, the fields that are named, and a part of the rule that is told.
LOCAL: dict[str, tuple[Act, list[str], str]] = {
    "a limit and no limit": (
        entitle({"feature": TOKENS, "usage_limit": 5, "has_unlimited_usage": True}),
        ["subscription.entitlements[0]"],
        "usage_limit: an unlimited entitlement has none",
    ),
    "terms of a plan": (
        entitle(PackageEntitlement(feature=TOKENS, usage_limit=5, per_unit=True)),
        [f"subscription.entitlements[0].{name}" for name in ("per_unit", "behavior", "credit_rate")],
        "unknown field",
    ),
    "metadata that is no text": (
        provision(metadata={"note": "\ud800"}),
        ["subscription.metadata.note"],
        "lone surrogates",
    ),
    "one feature twice": (
        entitle({"feature": TOKENS, "usage_limit": 5}, {"feature": SSO}, {"feature": TOKENS, "usage_limit": 6}),
        ["subscription.entitlements[2].feature"],
        "is there more than once",
    ),
    "a negative limit": (
        entitle({"feature": TOKENS, "usage_limit": -5}),
        ["subscription.entitlements[0].usage_limit"],
        NEGATIVE,
    ),
    "a reset that goes by nothing": (
        entitle({"feature": TOKENS, "usage_limit": 5, "reset_according_to": "EveryMonday"}),
        ["subscription.entitlements[0]"],
        "goes with a reset_period",
    ),
    "one currency twice": (
        own_credits({"amount": 1}, {"cadence": "YEAR"}),
        ["subscription.credits[1].currency"],
        "is there more than once",
    ),
    "own credits for each unit": (
        own_credits({}, {"currency": COINS, "per_unit": True}),
        ["subscription.credits[1].per_unit"],
        "give the whole amount",
    ),
    "own credits of nothing": (own_credits({"amount": 0}), ["subscription.credits[0].amount"], "more than 0"),
    "own credits each week": (own_credits({"cadence": "WEEK"}), ["subscription.credits[0].cadence"], "'MONTH'"),
    "one add-on twice": (
        provision(addons=[{"addon": "a"}, {"addon": "a", "quantity": 2}]),
        ["subscription.addons[1].addon"],
        "is there more than once",
    ),
    "an add-on no times": (
        provision(addons=[{"addon": "a", "quantity": 0}]),
        ["subscription.addons[0].quantity"],
        "greater than or equal to 1",
    ),
    "no units": (provision(unit_quantity=0), ["subscription.unit_quantity"], "greater than or equal to 1"),
    "half a unit": (provision(unit_quantity=1.5), ["subscription.unit_quantity"], "integer"),
    "too many units": (provision(unit_quantity=1_000_001), ["subscription.unit_quantity"], "1000000"),
    "neither a plan nor an id": (
        lambda engine: engine.subscriptions.provision(ACME, {"unit_quantity": 2}),
        ["subscription.plan"],
        "give a plan, or the id",
    ),
    "a plan with a bad id": (provision(plan="a:b"), ["subscription.plan"], ID_RULE),
    "a subscription with a bad id": (provision(id="a:b"), ["subscription.id"], ID_RULE),
    "a plan and a resource that are too long for one id": (
        provision(plan="p" * 200, resource="r" * 200),
        ["subscription.id"],
        ID_RULE,
    ),
    "an unknown billing period": (provision(billing_period="WEEKLY"), ["subscription.billing_period"], "'MONTHLY'"),
    "a start before 1970": (provision(start_ms=-1), ["subscription.start_ms"], "greater than or equal to 0"),
    "a start that is a datetime": (provision(start_ms=datetime(2026, 1, 1, tzinfo=UTC)), ["subscription.start_ms"], ""),
    "an unknown field": (provision(colour="red"), ["subscription.colour"], "unknown field"),
    "a subscription that is no mapping": (
        lambda engine: engine.subscriptions.provision(ACME, 5),
        ["subscription"],
        "SubscriptionUpsert",
    ),
    "a subscription of a bad customer": (
        lambda engine: engine.subscriptions.provision("a:b", {"plan": BASIC}),
        ["customer"],
        ID_RULE,
    ),
    "a cancellation at some time": (cancel(at="later"), ["at"], "a datetime with a time zone"),
    "a cancellation at a number": (cancel(at=NOW_MS), ["at"], "a datetime with a time zone"),
    "a cancellation at a naive instant": (cancel(at=datetime(2026, 5, 1)), ["at"], "with a time zone"),  # noqa: DTZ001
    "a cancellation of a bad resource": (cancel(resource=""), ["resource"], ID_RULE),
    "a negative grant": (grant(amount=-5), ["grant.amount"], NEGATIVE),
    "a grant of nothing": (grant(amount=0), ["grant.amount"], "must be more than 0"),
    "a grant of NaN": (grant(amount=float("nan")), ["grant.amount"], "not a finite number"),
    "a grant of 2^53": (grant(amount=2**53), ["grant.amount"], "whole numbers go to"),
    "a grant that recurs": (grant(kind="RECURRING"), ["grant"], "recurring grants come from plans and subscriptions"),
    "a grant of an unknown kind": (grant(kind="GIFT"), ["grant.kind"], "'PROMOTIONAL'"),
    "a grant that expires before it is effective": (
        grant(effective_at_ms=in_days(2), expires_at_ms=in_days(1)),
        ["grant"],
        "expires_at_ms: must be after effective_at_ms",
    ),
    "a grant of priority 101": (grant(priority=101), ["grant.priority"], "less than or equal to 100"),
    "a grant of priority -1": (grant(priority=-1), ["grant.priority"], "greater than or equal to 0"),
    "a grant with a bad id": (grant(id="a:b"), ["grant.id"], ID_RULE),
    "a grant without a currency": (
        lambda engine: engine.credits.grant(ACME, {"amount": 1}),
        ["grant.currency"],
        "is required",
    ),
    "a grant with an unknown field": (grant(cost=5), ["grant.cost"], "unknown field"),
    "a grant that is no mapping": (lambda engine: engine.credits.grant(ACME, 5), ["grant"], "GrantRequest"),
    "voiding what recurs": (void(f"{PRO}:{CREDITS}:MONTH:0"), ["grant_id"], "recurs with the subscription 'plan-pro'"),
    "voiding a bad id": (void(""), ["grant_id"], ID_RULE),
    "voiding a number": (void(5), ["grant_id"], ID_RULE),
    "voiding in a bad currency": (void("g", currency="a:b"), ["currency"], ID_RULE),
    "a resource with a bad id": (put_resource("a:b"), ["resource"], ID_RULE),
    "a resource's name that is a number": (put_resource(display_name=5), ["display_name"], "string"),
    "a resource's metadata of numbers": (put_resource(metadata={"a": 1}), ["metadata.a"], "string"),
    "a promotion that expires at a float": (
        lambda engine: engine.customers.grant_entitlement(ACME, {"feature": SSO, "expires_at_ms": 1.5}),
        ["entitlement.expires_at_ms"],
        "integer",
    ),
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
    assert target.sent == []
    assert target.dump() == {}


# What is done, the field, the value, and a part of the rule. The customer has `plan-basic` of `id` "running", which
# started now and has no billing period, and "to-come", which starts in 5 days.
ELSEWHERE: dict[str, tuple[Act, str, object, str]] = {
    "an unknown feature": (
        entitle({"feature": SSO}, {"feature": "feature-none"}),
        "subscription.entitlements[1].feature",
        "feature-none",
        "there is no such feature",
    ),
    "a limit of what has none": (
        entitle({"feature": SSO, "usage_limit": 5}),
        "subscription.entitlements[0].usage_limit",
        5.0,
        "is BOOLEAN: it has no limit",
    ),
    "a number without a limit": (
        entitle({"feature": SEATS}),
        "subscription.entitlements[0].usage_limit",
        None,
        "give a limit, or has_unlimited_usage",
    ),
    "a value that the feature does not offer": (
        entitle({"feature": REGIONS, "enum_values": ["mars"]}),
        "subscription.entitlements[0].enum_values",
        ["mars"],
        "offers eu, us, asia",
    ),
    "an unknown currency": (
        own_credits({"currency": "currency-none"}),
        "subscription.credits[0].currency",
        "currency-none",
        "there is no such currency",
    ),
    "an unknown add-on": (
        provision(addons=[{"addon": MORE_CREDITS}, {"addon": "addon-none"}]),
        "subscription.addons[1].addon",
        "addon-none",
        "there is no such add-on",
    ),
    "a new subscription without a plan": (
        provision(id="new", plan=None),
        "subscription.plan",
        None,
        "is required to create 'new'",
    ),
    "an end before the start": (
        provision(start_ms=in_days(3), end_ms=in_days(2)),
        "subscription.end_ms",
        in_days(2),
        f"must be after the start, {in_days(3)}",
    ),
    "an end at the start": (
        provision(end_ms=NOW_MS),
        "subscription.end_ms",
        NOW_MS,
        f"must be after the start, {NOW_MS}",
    ),
    "a trial that ends before the start": (
        provision(start_ms=in_days(3), trial_end_ms=in_days(3)),
        "subscription.trial_end_ms",
        in_days(3),
        f"must be after the start, {in_days(3)}",
    ),
    "a trial that ends after the end": (
        provision(end_ms=in_days(3), trial_end_ms=in_days(4)),
        "subscription.trial_end_ms",
        in_days(4),
        f"must not be after the end, {in_days(3)}",
    ),
    "a trial end that cancels, without a trial": (
        provision(trial_end_behavior="CANCEL_SUBSCRIPTION"),
        "subscription.trial_end_behavior",
        "CANCEL_SUBSCRIPTION",
        "without a trial there is none",
    ),
    "a start moved behind the end": (
        provision(id="to-come", start_ms=in_days(9)),
        "subscription.end_ms",
        in_days(8),
        f"must be after the start, {in_days(9)}",
    ),
    "another start": (
        provision(id="running", start_ms=in_days(1)),
        "subscription.start_ms",
        in_days(1),
        "a start that has passed does not change",
    ),
    "another anchor": (
        provision(id="to-come", billing_anchor_ms=in_days(1)),
        "subscription.billing_anchor_ms",
        in_days(1),
        "a billing anchor does not change",
    ),
    "an end that has passed": (
        provision(id="running", end_ms=NOW_MS),
        "subscription.end_ms",
        NOW_MS,
        "cancel it to end it now",
    ),
    "a trial that has passed and cancels": (
        provision(id="running", trial_end_ms=in_days(-1), trial_end_behavior="CANCEL_SUBSCRIPTION"),
        "subscription.trial_end_ms",
        in_days(-1),
        "must be after the server's present time",
    ),
    "a cancellation in the past": (
        lambda engine: engine.subscriptions.cancel(ACME, "running", at=datetime(2026, 3, 10, 12, tzinfo=UTC)),
        "at",
        datetime(2026, 3, 10, 12, tzinfo=UTC),
        'or give "now"',
    ),
    "a cancellation at the end of no period": (
        lambda engine: engine.subscriptions.cancel(ACME, "running", at="period_end"),
        "at",
        "period_end",
        "'running' has no billing period",
    ),
    "a cancellation after the end": (
        lambda engine: engine.subscriptions.cancel(ACME, "to-come", at=datetime(9999, 12, 31, 23, tzinfo=UTC)),
        "at",
        datetime(9999, 12, 31, 23, tzinfo=UTC),
        f"ends at {in_days(8)} anyway",
    ),
    "a grant that expires now": (
        grant(expires_at_ms=NOW_MS),
        "grant.expires_at_ms",
        NOW_MS,
        f"must be after the server's present time, {NOW_MS}",
    ),
    "a grant that has expired": (
        grant(effective_at_ms=in_days(-2), expires_at_ms=in_days(-1)),
        "grant.expires_at_ms",
        in_days(-1),
        f"must be after the server's present time, {NOW_MS}",
    ),
    "a promotion that has expired": (
        lambda engine: engine.customers.grant_entitlement(ACME, {"feature": SSO, "expires_at_ms": in_days(-1)}),
        "expires_at_ms",
        in_days(-1),
        f"must be after the server's present time, {NOW_MS}",
    ),
}


@pytest.mark.parametrize("case", ELSEWHERE)
async def test_what_only_the_server_knows_is_refused_with_nothing_written(target: Target, case: str) -> None:
    act, field, value, rule = ELSEWHERE[case]
    await found_shop(target.engine)
    await provision(id="running")(target.engine)
    await provision(id="to-come", start_ms=in_days(5), end_ms=in_days(8))(target.engine)
    before = target.dump()
    target.sent.clear()
    with pytest.raises(InvalidInput) as caught:
        await act(target.engine)
    assert [(problem.field, problem.value) for problem in caught.value.problems] == [(field, value)]
    assert rule in caught.value.problems[0].rule
    assert caught.value.code == "BadUserInput"
    assert not {"configure", "write_catalog"} & set(target.scripts_sent())
    assert target.dump() == before


UNKNOWN: dict[str, tuple[Act, str, str]] = {
    "a plan": (provision(plan="plan-none"), "plan-none", "PlanNotFound"),
    "a plan to change to": (provision(id="running", plan="plan-none"), "plan-none", "PlanNotFound"),
    "a resource to subscribe for": (provision(resource=SITE), SITE, "CustomerResourceNotFound"),
    "a resource to give credits": (grant(resource=SITE), SITE, "CustomerResourceNotFound"),
    "a currency": (grant(currency="currency-none"), "currency-none", "CurrencyNotFound"),
    "a subscription to cancel": (cancel(), BASIC, "SubscriptionNotFound"),
    "a grant to void": (void("g-1"), "g-1", "GrantNotFound"),
}


@pytest.mark.parametrize("case", UNKNOWN)
async def test_what_is_not_there_is_named_with_nothing_written(target: Target, case: str) -> None:
    act, id, code = UNKNOWN[case]
    await found_shop(target.engine)
    await provision(id="running")(target.engine)
    before = target.dump()
    with pytest.raises(NotFound) as caught:
        await act(target.engine)
    assert (caught.value.id, caught.value.code) == (id, code)
    assert repr(id) in str(caught.value)
    assert str(caught.value).endswith(" was not found")
    assert target.dump() == before
