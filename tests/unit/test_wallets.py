"""Wallets, rule by rule: the tables of docs/concepts/credits.md that need no counter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count, permutations
from typing import Any, Final

import pytest
from hypothesis import given as law_of
from hypothesis import strategies as st

from headgate.amounts import WHOLE_MAX
from headgate.model.credits import PRIORITY_DEFAULT, Grant, GrantKind, GrantState, GrantStatus, Wallet
from headgate.model.packages import Addon, CreditCadence, EarlierCredits, Packages, Plan, RecurringCredit
from headgate.model.subscription import (
    EarlierContent,
    Subscription,
    SubscriptionAddon,
    SubscriptionStatus,
    TrialEndBehavior,
)
from headgate.wallets import LiveWallet, WalletGrant, every_grant, live_wallet, recurring_definitions

PAID, PROMOTIONAL, RECURRING = GrantKind.PAID, GrantKind.PROMOTIONAL, GrantKind.RECURRING
YEARLY: Final = {"cadence": "YEAR"}
NUMBERS = count()


def ms(month: int, day: int, hour: int = 0, year: int = 2026) -> int:
    return round(datetime(year, month, day, hour, tzinfo=UTC).timestamp() * 1000)


NOW: Final = ms(3, 10, 12)


def granted(id: str = "g", amount: float = 10, **given: Any) -> Grant:
    """A grant of credits; in force since January and for ever, unless it says something else."""
    effective_at_ms = given.pop("effective_at_ms", ms(1, 1))
    return Grant(
        id=id,
        number=next(NUMBERS),
        currency="credits",
        kind=given.pop("kind", PAID),
        amount=amount,
        effective_at_ms=effective_at_ms,
        created_at_ms=given.pop("created_at_ms", effective_at_ms),
        **given,
    )


def credit(amount: float, **given: Any) -> RecurringCredit:
    return RecurringCredit.model_validate({"currency": "credits", "amount": amount, "cadence": "MONTH", **given})


def subscribed(id: str = "s", **given: Any) -> Subscription:
    """A subscription to the plan `p` that started on 1 January, unless it says another start."""
    start_ms = given.pop("start_ms", ms(1, 1))
    return Subscription(
        id=id,
        plan=given.pop("plan", "p"),
        start_ms=start_ms,
        billing_anchor_ms=given.pop("billing_anchor_ms", start_ms),
        addons=tuple(
            SubscriptionAddon(addon=addon, quantity=times) for addon, times in given.pop("addons", {}).items()
        ),
        created_at_ms=0,
        updated_at_ms=0,
        **given,
    )


def sold(*credits: RecurringCredit, earlier: Sequence[EarlierCredits] = (), **addons: RecurringCredit) -> Packages:
    """A catalog of the plan `p` with these credits, and an add-on for each name."""
    plan = Plan(id="p", credits=credits, earlier_credits=tuple(earlier))
    return Packages({"p": plan}, {id: Addon(id=id, credits=(each,)) for id, each in addons.items()})


def gave_until(until_ms: int, *credits: RecurringCredit) -> EarlierCredits:
    return EarlierCredits(until_ms=until_ms, credits=credits)


def was_until(until_ms: int, **content: Any) -> EarlierContent:
    return EarlierContent(until_ms=until_ms, plan="p", **content)


NOTHING_SOLD: Final = Packages({}, {})


def wallet(
    *given: Grant, subscriptions: Sequence[Subscription] = (), packages: Packages = NOTHING_SOLD, now_ms: int = NOW
) -> LiveWallet:
    return live_wallet("credits", given, subscriptions, packages, now_ms=now_ms)


def ledger(*subscriptions: Subscription, packages: Packages, now_ms: int = NOW) -> list[WalletGrant]:
    return every_grant("credits", (), subscriptions, packages, now_ms=now_ms)


def amounts(*subscriptions: Subscription, packages: Packages, now_ms: int = NOW) -> list[float]:
    return [grant.amount for grant in ledger(*subscriptions, packages=packages, now_ms=now_ms)]


def spans(grants: Sequence[WalletGrant]) -> list[tuple[int, int | None]]:
    return [(grant.effective_at_ms, grant.expires_at_ms) for grant in grants]


def ids(grants: Sequence[WalletGrant]) -> list[str]:
    return [grant.id for grant in grants]


# Of each pair, the first is burnt first. What only a later row looks at speaks for the second.
BURN_ORDER = [
    pytest.param(
        granted("z", priority=0, expires_at_ms=ms(5, 2), kind=PAID),
        granted("a", priority=1, expires_at_ms=ms(5, 1), kind=PROMOTIONAL),
        id="C10 the lowest priority number",
    ),
    pytest.param(
        granted("z", expires_at_ms=ms(5, 1), kind=PAID),
        granted("a", expires_at_ms=ms(5, 2), kind=PROMOTIONAL),
        id="C11 the earliest expiry",
    ),
    pytest.param(
        granted("z", expires_at_ms=ms(5, 1), kind=PAID), granted("a", kind=PROMOTIONAL), id="C11 no expiry comes last"
    ),
    pytest.param(
        granted("z", kind=PROMOTIONAL, effective_at_ms=ms(2, 1)),
        granted("a", kind=PAID, effective_at_ms=ms(1, 1)),
        id="C12 promotional before paid",
    ),
    pytest.param(
        granted("z", effective_at_ms=ms(1, 1), created_at_ms=ms(2, 2)),
        granted("a", effective_at_ms=ms(1, 2), created_at_ms=ms(2, 1)),
        id="C13 the earliest effective instant",
    ),
    pytest.param(
        granted("z", created_at_ms=ms(2, 1)), granted("a", created_at_ms=ms(2, 2)), id="C14 the earliest creation"
    ),
    pytest.param(granted("a"), granted("z"), id="C15 the lowest id"),
]


@pytest.mark.parametrize(("first", "second"), BURN_ORDER)
def test_of_two_grants_the_first_is_burnt_first(first: Grant, second: Grant) -> None:
    for given in ((first, second), (second, first)):
        assert ids(wallet(*given).grants) == [first.id, second.id]


def test_a_recurring_grant_stands_between_promotional_and_paid_ones_that_expire_with_it() -> None:
    until = {"expires_at_ms": ms(4, 1), "effective_at_ms": ms(3, 1)}
    given = [granted("paid", kind=PAID, **until), granted("free", kind=PROMOTIONAL, **until)]
    found = wallet(*given, subscriptions=[subscribed()], packages=sold(credit(5)))
    assert ids(found.grants) == ["free", "s:credits:MONTH:2", "paid"]


def test_every_row_of_the_burn_order_weighs_more_than_all_rows_below_it() -> None:
    """A chain of grants, each of which loses to those above it in one row, and wins in all rows below."""
    chain = [
        granted("f", priority=1, kind=PAID, effective_at_ms=ms(2, 3), created_at_ms=ms(3, 3)),
        granted("e", expires_at_ms=ms(5, 1), kind=PAID, effective_at_ms=ms(2, 3), created_at_ms=ms(3, 3)),
        granted("d", kind=PROMOTIONAL, effective_at_ms=ms(2, 3), created_at_ms=ms(3, 3)),
        granted("c", effective_at_ms=ms(2, 1), created_at_ms=ms(3, 3)),
        granted("b", effective_at_ms=ms(2, 2), created_at_ms=ms(3, 1)),
        granted("a", effective_at_ms=ms(2, 2), created_at_ms=ms(3, 2)),
    ]
    for given in permutations(chain):
        assert ids(wallet(*given).grants) == ["f", "e", "d", "c", "b", "a"]


@pytest.mark.parametrize(
    ("grant", "live"),
    [
        pytest.param(granted(effective_at_ms=NOW), True, id="C4 from its effective instant on"),
        pytest.param(granted(effective_at_ms=NOW + 1), False, id="C4 not before"),
        pytest.param(granted(expires_at_ms=NOW + 1), True, id="C4 until its expiry"),
        pytest.param(granted(expires_at_ms=NOW), False, id="C4 not at its expiry"),
        pytest.param(granted(), True, id="C4 without an expiry"),
    ],
)
def test_a_grant_is_live_in_its_time(grant: Grant, live: bool) -> None:
    assert ids(wallet(grant).grants) == (["g"] if live else [])


VOIDED = {"voided_at_ms": ms(2, 1)}


@pytest.mark.parametrize(
    ("grant", "status"),
    [
        pytest.param(granted(**VOIDED), GrantStatus.VOIDED, id="C6 voided"),
        pytest.param(granted(effective_at_ms=NOW + 1, **VOIDED), GrantStatus.VOIDED, id="C6 voided before its time"),
        pytest.param(granted(expires_at_ms=NOW, **VOIDED), GrantStatus.VOIDED, id="C6 voided and expired"),
        pytest.param(granted(voided_at_ms=NOW + 5), GrantStatus.VOIDED, id="C6 voided by a clock that was ahead"),
        pytest.param(granted(effective_at_ms=NOW + 1), GrantStatus.SCHEDULED, id="C6 before its time"),
        pytest.param(granted(expires_at_ms=NOW), GrantStatus.EXPIRED, id="C6 at its expiry"),
        pytest.param(granted(expires_at_ms=NOW + 1), GrantStatus.ACTIVE, id="C6 in its time"),
        pytest.param(granted(), GrantStatus.ACTIVE, id="C6 for ever"),
    ],
)
def test_the_status_of_a_grant_is_that_of_the_instant(grant: Grant, status: GrantStatus) -> None:
    (found,) = every_grant("credits", [grant], (), NOTHING_SOLD, now_ms=NOW)
    assert found.status_at(NOW) is status
    assert bool(wallet(grant).grants) is (status is GrantStatus.ACTIVE)


def test_c7_an_amount_is_what_is_left_held_consumed_expired_and_voided_of_it() -> None:
    for status in GrantStatus:
        state = GrantState("g", "credits", None, PAID, status, 50, 10.5, 3.25, 2, 0, None)
        parts = {"left": state.left, "expired": state.expired, "voided": state.voided}
        place = {GrantStatus.EXPIRED: "expired", GrantStatus.VOIDED: "voided"}.get(status, "left")
        assert parts == {"left": 0, "expired": 0, "voided": 0, place: 5.25}
        assert state.amount == sum(parts.values()) + state.held + state.consumed


def test_c16_a_balance_is_what_live_grants_have_left_without_the_overdraft() -> None:
    states = tuple(
        GrantState(id, "credits", None, PAID, GrantStatus.ACTIVE, 50, amount, consumed, 1, 0, None)
        for id, amount, consumed in (("a", 0.3, 0.1), ("b", 100, 40))
    )
    shown = Wallet("acme", "credits", None, states, overdraft=70.5, is_soft=False, read_at_ms=NOW)
    assert (shown.granted, shown.used, shown.held, shown.balance) == (100.3, 110.6, 2, -12.3)


@pytest.mark.parametrize(
    ("is_soft", "subscriptions", "packages"),
    [
        pytest.param(False, [], sold(credit(1, has_soft_limit=True)), id="C20 nobody subscribed"),
        pytest.param(True, [subscribed()], sold(credit(1, has_soft_limit=True)), id="C20 the plan"),
        pytest.param(False, [subscribed()], sold(credit(1)), id="C20 hard"),
        pytest.param(True, [subscribed()], sold(credit(1), credit(1, has_soft_limit=True, **YEARLY)), id="C20 any"),
        pytest.param(
            True,
            [subscribed(addons={"a": 1})],
            sold(credit(1), a=credit(1, has_soft_limit=True)),
            id="C20 an add-on",
        ),
        pytest.param(True, [subscribed(credits=(credit(1, has_soft_limit=True),))], sold(credit(1)), id="C20 its own"),
        pytest.param(
            False, [subscribed(credits=(credit(1),))], sold(credit(1, has_soft_limit=True)), id="C20 its own is hard"
        ),
        pytest.param(
            False, [subscribed()], sold(credit(1, has_soft_limit=True, currency="gold")), id="C20 another currency"
        ),
        pytest.param(False, [subscribed(end_ms=NOW)], sold(credit(1, has_soft_limit=True)), id="C20 it has ended"),
        pytest.param(
            False, [subscribed(start_ms=NOW + 1)], sold(credit(1, has_soft_limit=True)), id="C20 it has not begun"
        ),
        pytest.param(
            True,
            [subscribed("t", plan="other"), subscribed()],
            sold(credit(1, has_soft_limit=True)),
            id="C20 one of two",
        ),
        pytest.param(
            False,
            [subscribed()],
            sold(credit(1), earlier=[gave_until(ms(3, 5), credit(1, has_soft_limit=True))]),
            id="C20 not what was said earlier",
        ),
    ],
)
def test_a_wallet_is_soft_while_any_credit_of_a_subscription_is(
    is_soft: bool, subscriptions: list[Subscription], packages: Packages
) -> None:
    assert wallet(granted(), subscriptions=subscriptions, packages=packages).is_soft is is_soft


def test_c26_there_is_one_recurring_grant_a_period_from_the_billing_anchor_on() -> None:
    subscription = subscribed(start_ms=ms(1, 31))
    found = ledger(subscription, packages=sold(credit(5)), now_ms=ms(4, 30))
    assert ids(found) == [f"s:credits:MONTH:{number}" for number in range(4)]
    assert spans(found) == [
        (ms(1, 31), ms(2, 28)),
        (ms(2, 28), ms(3, 31)),
        (ms(3, 31), ms(4, 30)),
        (ms(4, 30), ms(5, 31)),
    ]
    for grant in found:
        assert (grant.kind, grant.amount, grant.subscription) == (RECURRING, 5, "s")
        assert grant.created_at_ms == grant.effective_at_ms


@pytest.mark.parametrize(
    ("subscription", "expected"),
    [
        pytest.param(subscribed(start_ms=ms(3, 1), end_ms=ms(3, 20)), (ms(3, 1), ms(3, 20)), id="C27 it ends"),
        pytest.param(
            subscribed(start_ms=ms(3, 5), billing_anchor_ms=ms(1, 1)), (ms(3, 5), ms(4, 1)), id="C27 it starts"
        ),
        pytest.param(
            subscribed(start_ms=ms(3, 5), billing_anchor_ms=ms(3, 15)),
            (ms(3, 5), ms(3, 15)),
            id="C27 before its anchor",
        ),
        pytest.param(
            subscribed(
                start_ms=ms(3, 5),
                trial_end_ms=ms(3, 12),
                trial_end_behavior=TrialEndBehavior.CANCEL_SUBSCRIPTION,
            ),
            (ms(3, 5), ms(3, 12)),
            id="C27 it ends with its trial",
        ),
    ],
)
def test_a_recurring_grant_lives_while_period_and_subscription_do(
    subscription: Subscription, expected: tuple[int, int]
) -> None:
    assert spans(ledger(subscription, packages=sold(credit(5)))) == [expected]
    assert spans(wallet(subscriptions=[subscription], packages=sold(credit(5))).grants) == [expected]


def test_no_recurring_grant_is_there_before_or_after_its_subscription() -> None:
    before, after = subscribed("before", start_ms=ms(3, 20)), subscribed("after", end_ms=ms(3, 1))
    assert wallet(subscriptions=[before, after], packages=sold(credit(5))).grants == ()
    assert ids(ledger(before, after, packages=sold(credit(5)))) == ["after:credits:MONTH:0", "after:credits:MONTH:1"]


CANCELED_AT_ITS_START = subscribed(start_ms=ms(3, 5), end_ms=ms(3, 5), canceled_at_ms=ms(3, 5))


def test_a_subscription_that_was_canceled_at_its_start_gives_nothing() -> None:
    assert CANCELED_AT_ITS_START.status_at(NOW) is SubscriptionStatus.CANCELED
    assert ledger(CANCELED_AT_ITS_START, packages=sold(credit(5))) == []


PER_UNIT = credit(100, per_unit=True)


@pytest.mark.parametrize(
    ("amount", "subscription", "packages"),
    [
        pytest.param(100, subscribed(unit_quantity=3), sold(credit(100)), id="C29 the plan's"),
        pytest.param(300, subscribed(unit_quantity=3), sold(PER_UNIT), id="C29 per unit"),
        pytest.param(
            230,
            subscribed(unit_quantity=2, addons={"a": 3}),
            sold(PER_UNIT, a=credit(10), b=credit(7)),
            id="C29 and the add-ons'",
        ),
        pytest.param(30, subscribed(addons={"a": 3}), sold(a=credit(10)), id="C29 add-ons alone"),
        pytest.param(0.3, subscribed(unit_quantity=3), sold(credit(0.1, per_unit=True)), id="C29 exactly"),
        pytest.param(None, subscribed(), sold(), id="C29 nothing"),
        pytest.param(None, subscribed(), sold(credit(5, currency="gold")), id="C29 another currency"),
        pytest.param(None, subscribed(plan="gone"), sold(credit(5)), id="C29 a plan that is gone"),
        pytest.param(5, subscribed(addons={"gone": 2}), sold(credit(5)), id="C29 an add-on that is gone"),
        pytest.param(
            WHOLE_MAX, subscribed(unit_quantity=2), sold(credit(WHOLE_MAX, per_unit=True)), id="C29 at most the range"
        ),
        pytest.param(
            7,
            subscribed(unit_quantity=3, addons={"a": 2}, credits=(credit(7),)),
            sold(PER_UNIT, a=credit(10)),
            id="C30 in the place of plan and add-ons",
        ),
        pytest.param(5, subscribed(credits=(credit(7, currency="gold"),)), sold(credit(5)), id="C30 another currency"),
        pytest.param(7, subscribed(plan="gone", credits=(credit(7),)), sold(), id="C30 of a plan that is gone"),
    ],
)
def test_the_amount_of_a_recurring_grant(amount: float | None, subscription: Subscription, packages: Packages) -> None:
    live = wallet(subscriptions=[subscription], packages=packages).grants
    assert [grant.amount for grant in live] == ([] if amount is None else [amount])
    assert amounts(subscription, packages=packages)[-1:] == [grant.amount for grant in live]


def test_credits_of_its_own_stand_in_the_place_of_every_cadence() -> None:
    packages = sold(credit(100), credit(1_000, **YEARLY))
    own_yearly = subscribed(credits=(credit(7, **YEARLY),))
    assert ids(wallet(subscriptions=[own_yearly], packages=packages).grants) == ["s:credits:YEAR:0"]
    assert amounts(own_yearly, packages=packages) == [7]


@pytest.mark.parametrize(
    ("expected", "subscription", "packages"),
    [
        pytest.param(
            [100, 100, 250],
            subscribed(),
            sold(credit(250), earlier=[gave_until(ms(3, 5), credit(100))]),
            id="C31 of the plan",
        ),
        pytest.param(
            [100, 100, 300],
            subscribed(unit_quantity=3, earlier=(was_until(ms(3, 5), unit_quantity=1),)),
            sold(PER_UNIT),
            id="C31 of the quantity",
        ),
        pytest.param(
            [100, 100, 120],
            subscribed(addons={"a": 2}, earlier=(was_until(ms(3, 5)), was_until(ms(3, 7), addons=({"addon": "a"},)))),
            sold(credit(100), a=credit(10)),
            id="C31 of add-ons",
        ),
        pytest.param([0, 0, 5], subscribed(), sold(credit(5), earlier=[gave_until(ms(3, 5))]), id="C31 from none"),
        pytest.param(
            [100, 100, 120],
            subscribed(credits=(credit(120),), earlier=(was_until(ms(3, 5)),)),
            sold(credit(100)),
            id="C31 of its own",
        ),
        pytest.param(
            [100, 100, 300],
            subscribed(),
            sold(credit(50), earlier=[gave_until(ms(3, 5), credit(100)), gave_until(ms(3, 6), credit(300))]),
            id="C31 for the time of an afternoon",
        ),
        pytest.param(
            [250, 250, 250, 100],
            subscribed(),
            sold(credit(100), earlier=[gave_until(ms(3, 5), credit(250))]),
            id="C32 of the plan",
        ),
        pytest.param(
            [300, 300, 300, 100],
            subscribed(earlier=(was_until(ms(3, 5), unit_quantity=3),)),
            sold(PER_UNIT),
            id="C32 of the quantity",
        ),
        pytest.param([5, 5, 5], subscribed(), sold(earlier=[gave_until(ms(3, 5), credit(5))]), id="C32 to none"),
        pytest.param(
            [100, 100, 100, 7],
            subscribed(credits=(credit(7),), earlier=(was_until(ms(3, 5)),)),
            sold(credit(100)),
            id="C32 to its own",
        ),
        pytest.param(
            [100, 100, 100],
            subscribed(end_ms=ms(3, 4)),
            sold(credit(300), earlier=[gave_until(ms(3, 5), credit(100))]),
            id="C33 a change after its end",
        ),
        pytest.param(
            [1, 2, 3],
            subscribed(),
            sold(credit(3), earlier=[gave_until(ms(2, 1), credit(1)), gave_until(ms(3, 1), credit(2))]),
            id="C33 changes where periods begin",
        ),
        pytest.param(
            [100, 300],
            subscribed(plan="p", earlier=(EarlierContent(until_ms=ms(2, 1), plan="q"),)),
            Packages({"p": Plan(id="p", credits=(credit(300),)), "q": Plan(id="q", credits=(credit(100),))}, {}),
            id="C33 another plan",
        ),
    ],
)
def test_an_increase_counts_at_once_and_a_decrease_from_the_next_period(
    expected: list[float], subscription: Subscription, packages: Packages
) -> None:
    for seen in range(1, len(expected) + 1):
        now_ms = ms(seen, 28)
        if subscription.applies_at(now_ms):
            live = wallet(subscriptions=[subscription], packages=packages, now_ms=now_ms).grants
            assert [grant.amount for grant in live] == [amount for amount in expected[seen - 1 : seen] if amount]
        found = amounts(subscription, packages=packages, now_ms=now_ms)
        assert found == [amount for amount in expected[:seen] if amount]


def test_c34_each_subscription_and_each_cadence_has_grants_of_its_own() -> None:
    subscriptions = [subscribed("a", start_ms=ms(3, 1)), subscribed("b", start_ms=ms(3, 5))]
    packages = sold(credit(10), credit(1_000, **YEARLY))
    live = wallet(subscriptions=subscriptions, packages=packages).grants
    assert ids(live) == ["a:credits:MONTH:0", "b:credits:MONTH:0", "a:credits:YEAR:0", "b:credits:YEAR:0"]
    assert spans(live)[2] == (ms(3, 1), ms(3, 1, year=2027))
    assert len({grant.place for grant in live}) == 4
    assert recurring_definitions("credits", subscriptions, packages) == {
        (id, cadence) for id in ("a", "b") for cadence in CreditCadence
    }


def test_c35_a_recurring_grant_has_the_default_priority() -> None:
    given = [granted("early", priority=49), granted("late", priority=51)]
    live = wallet(*given, subscriptions=[subscribed()], packages=sold(credit(5))).grants
    assert ids(live) == ["early", "s:credits:MONTH:2", "late"]
    assert live[1].priority == PRIORITY_DEFAULT == 50


def test_what_was_sold_once_is_still_among_the_definitions() -> None:
    packages = sold(credit(1, currency="gold"), earlier=[gave_until(ms(2, 1), credit(5, **YEARLY))])
    assert recurring_definitions("credits", [subscribed()], packages) == {("s", CreditCadence.YEAR)}
    changed = subscribed(plan="gone", earlier=(was_until(ms(2, 1)),))
    assert recurring_definitions("credits", [changed], sold(credit(5))) == {("s", CreditCadence.MONTH)}
    assert recurring_definitions("credits", [subscribed(plan="gone")], packages) == set()
    had_its_own = subscribed(earlier=(was_until(ms(2, 1), credits=(credit(5),)),))
    assert recurring_definitions("credits", [had_its_own], sold()) == {("s", CreditCadence.MONTH)}
    assert amounts(had_its_own, packages=sold()) == [5]


def in_force(effective_at_ms: int, expires_at_ms: int | None = None) -> Grant:
    return granted(effective_at_ms=effective_at_ms, expires_at_ms=expires_at_ms)


STARTS_AND_ENDS: Final = subscribed(start_ms=ms(3, 5), end_ms=ms(3, 11))
STARTS_LATER: Final = subscribed("t", start_ms=ms(3, 20))


@pytest.mark.parametrize(
    ("span", "given", "subscriptions"),
    [
        pytest.param((ms(3, 1), ms(3, 12)), [in_force(ms(3, 1), ms(3, 12))], [], id="C46 a grant"),
        pytest.param((ms(3, 2), ms(3, 11)), [in_force(0, ms(3, 2)), in_force(ms(3, 11))], [], id="C46 not live"),
        pytest.param((NOW, ms(3, 11)), [in_force(0, NOW), in_force(0, ms(3, 11))], [], id="C46 now"),
        pytest.param((ms(3, 1), ms(4, 1)), [in_force(0)], [subscribed()], id="C46 a period"),
        pytest.param((ms(3, 5), ms(3, 11)), [], [STARTS_AND_ENDS], id="C46 a subscription"),
        pytest.param((ms(3, 1), ms(3, 20)), [], [subscribed(), STARTS_LATER], id="C46 one to come"),
    ],
)
def test_what_a_wallet_has_holds_until_the_next_instant_at_which_it_changes(
    span: tuple[int, int], given: list[Grant], subscriptions: list[Subscription]
) -> None:
    found = wallet(*given, subscriptions=subscriptions, packages=sold(credit(5)))
    assert (found.from_ms, found.until_ms) == span


INSTANTS = st.integers(ms(2, 20), ms(5, 10))
GRANTS = st.lists(
    st.builds(
        lambda effective_at_ms, length_ms, priority, is_voided: granted(
            f"g{next(NUMBERS)}",
            effective_at_ms=effective_at_ms,
            expires_at_ms=None if length_ms is None else effective_at_ms + length_ms,
            priority=priority,
            voided_at_ms=effective_at_ms if is_voided else None,
        ),
        INSTANTS,
        st.none() | st.integers(1, 30 * 86_400_000),
        st.sampled_from([10, 50, 90]),
        st.booleans(),
    ),
    max_size=4,
)
SUBSCRIPTIONS = st.lists(
    st.builds(
        lambda start_ms, length_ms, anchor_ms, change_ms, units: subscribed(
            f"s{next(NUMBERS)}",
            start_ms=start_ms,
            end_ms=None if length_ms is None else start_ms + length_ms,
            billing_anchor_ms=anchor_ms,
            unit_quantity=units,
            earlier=(was_until(change_ms, unit_quantity=3),),
        ),
        INSTANTS,
        st.none() | st.integers(1, 60 * 86_400_000),
        INSTANTS,
        INSTANTS,
        st.integers(1, 5),
    ),
    max_size=3,
)
OF_LAWS = sold(PER_UNIT, credit(7, **YEARLY))


@law_of(GRANTS, SUBSCRIPTIONS, INSTANTS, INSTANTS)
def test_at_every_instant_of_the_span_the_wallet_is_the_same(
    given: list[Grant], subscriptions: list[Subscription], now_ms: int, other_ms: int
) -> None:
    found = wallet(*given, subscriptions=subscriptions, packages=OF_LAWS, now_ms=now_ms)
    assert found.from_ms <= now_ms < found.until_ms
    last_ms = min(found.until_ms - 1, ms(12, 31))
    for instant_ms in (found.from_ms, last_ms, min(max(other_ms, found.from_ms), last_ms)):
        assert wallet(*given, subscriptions=subscriptions, packages=OF_LAWS, now_ms=instant_ms) == found


@law_of(GRANTS, SUBSCRIPTIONS, INSTANTS, INSTANTS)
def test_the_ledger_only_grows_and_holds_what_is_live_at_any_instant(
    given: list[Grant], subscriptions: list[Subscription], now_ms: int, later_ms: int
) -> None:
    now_ms, later_ms = sorted((now_ms, later_ms))
    earlier, later = (every_grant("credits", given, subscriptions, OF_LAWS, now_ms=at) for at in (now_ms, later_ms))
    assert later == sorted(later, key=lambda grant: (grant.effective_at_ms, grant.id))
    assert set(earlier) <= set(later)
    assert len({grant.place for grant in later}) == len({grant.id for grant in later}) == len(later)
    live = wallet(*given, subscriptions=subscriptions, packages=OF_LAWS, now_ms=now_ms).grants
    assert set(live) == {grant for grant in earlier if grant.status_at(now_ms) is GrantStatus.ACTIVE}
