"""Reservations: an amount is held on every limit in its way or on none, until it is settled or released."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.commerce import DAY_MS, MARCH_END_MS
from behaviour.holding import ANN, CHAIN, HOUR_MS, everywhere, hold, numbers, status
from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, SSO, TOKENS, ask, budget, count, entitle, found_acme, found_chain, spend
from headgate import AsyncHeadgate, Conflict, DeniedReason, LimitReached, ManualClock, NotFound, ReservationStatus

# Reserving.


async def test_a_reservation_is_held_and_not_used_at_every_level(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    made = await hold(engine, 75)
    assert made
    assert made.granted
    assert await numbers(engine) == everywhere(0, 75)
    nearest = (await ask(engine, 1, **ANN)).binding
    assert nearest is not None
    assert (nearest.held, nearest.left) == (75, 925)


@pytest.mark.parametrize("level", CHAIN)
async def test_what_is_held_is_not_given_to_anybody_else(engine: AsyncHeadgate, level: str) -> None:
    limits = {name: 100.0 if name == level else 1_000.0 for name in CHAIN}
    await found_chain(
        engine, account=limits["account"], org=limits["org-acme"], team=limits["team-eng"], user=limits["user-ann"]
    )
    await hold(engine, 75)
    for answer in (await ask(engine, 26, **ANN), await spend(engine, 26, **ANN), (await hold(engine, 26)).decision):
        assert answer is not None
        assert not answer.granted
        assert answer.binding is not None
        assert (answer.binding.name, answer.binding.used, answer.binding.held) == (level, 0, 75)
    assert await spend(engine, 25, **ANN)


async def test_a_refused_reservation_leaves_no_trace(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine, team=100)
    await hold(engine, 75)
    before = target.dump()
    refused = await hold(engine, 26)
    assert (bool(refused), refused.granted, refused.reservation.status) == (False, False, ReservationStatus.REFUSED)
    assert refused.decision is not None
    assert (refused.decision.reason, refused.decision.binding.name) == (DeniedReason.BUDGET_EXCEEDED, "team-eng")
    with pytest.raises(LimitReached) as caught:
        refused.require()
    assert caught.value.decision == refused.decision
    with pytest.raises(LimitReached):
        await refused.settle(1)
    with pytest.raises(NotFound):
        await engine.reservations.get(ACME, refused.id)
    assert "Not reserved" in str(refused.reservation)
    assert target.dump() == before


async def test_a_block_whose_reservation_was_refused_ends_nothing(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine, team=10)
    before = target.dump()
    async with hold(engine, 11) as refused:
        assert not refused
        with pytest.raises(LimitReached):
            refused.count(5)
    assert target.dump() == before


async def test_a_denial_that_needs_no_counter_is_a_refusal_with_its_reason(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    for named, reason in (
        ({"customer": "cus-none", "feature": TOKENS}, DeniedReason.CUSTOMER_NOT_FOUND),
        ({"customer": ACME, "feature": "feature-none"}, DeniedReason.FEATURE_NOT_FOUND),
        ({"customer": ACME, "currency": "currency-none"}, DeniedReason.ENTITLEMENT_NOT_FOUND),
    ):
        refused = await engine.reserve(named.pop("customer"), **named)  # type: ignore[arg-type]
        assert refused.decision is not None
        assert (bool(refused), refused.decision.reason) == (False, reason)
    await engine.customers.grant_entitlement(ACME, {"feature": SSO})
    refused = await engine.reserve(ACME, feature=SSO)
    assert refused.decision is not None
    assert refused.decision.reason is DeniedReason.FEATURE_TYPE_MISMATCH


async def test_a_soft_limit_and_a_budget_without_limit_hold_without_end(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=10, has_soft_limit=True)
    await budget(engine, "user-ann", None)
    assert await hold(engine, 75)
    assert await numbers(engine) == {"account": (0, 75), "user-ann": (0, 75)}


async def test_of_twenty_reservations_of_75_against_500_six_are_granted(engine: AsyncHeadgate) -> None:
    await found_chain(engine, team=500)
    made = [await hold(engine, 75) for _ in range(20)]
    assert [bool(each) for each in made] == [True] * 6 + [False] * 14
    assert await numbers(engine) == everywhere(0, 450)
    for each in made[:3]:
        await each.settle(75)
    for each in made[3:6]:
        await each.release()
    assert await numbers(engine) == everywhere(225, 0)


async def test_a_budget_that_two_chains_share_is_held_once(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    made = await hold(engine, 75, dimensions={"userId": "user-ann", "teamId": "team-eng"})
    assert await numbers(engine) == everywhere(0, 75)
    await made.settle(70)
    assert await numbers(engine) == everywhere(70, 0)


async def test_fractions_are_held_and_settled_exactly(engine: AsyncHeadgate) -> None:
    await found_chain(engine, team=0.3)
    made = [await hold(engine, 0.1) for _ in range(4)]
    assert [bool(each) for each in made] == [True, True, True, False]
    assert await numbers(engine) == everywhere(0, 0.3)
    for each in made[:3]:
        await each.settle(0.1)
    assert await numbers(engine) == everywhere(0.3, 0)


async def test_a_hold_says_what_it_is_for(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    made = await hold(engine, 75, id="job-1", expires_in=90, metadata={"trace": "a-1"})
    for found in (made.reservation, await engine.reservations.get(ACME, "job-1")):
        assert (found.id, found.customer, found.feature, found.currency, found.resource) == (
            *("job-1", ACME, TOKENS, None, None),
        )
        assert (found.amount, found.credits, found.settled, found.status) == (75, 0, 0, ReservationStatus.OPEN)
        assert (found.expires_at_ms, found.metadata) == (NOW_MS + 90_000, {"trace": "a-1"})
        assert found.expires_at.timestamp() * 1_000 == NOW_MS + 90_000
        assert found.as_dict()["status"] == "OPEN"
        assert str(found) == f"job-1: 75 of {TOKENS} for {ACME}, open."
    assert made.id == "job-1"


async def test_one_unit_is_held_for_an_hour_under_an_id_of_its_own_if_nothing_else_is_said(
    engine: AsyncHeadgate,
) -> None:
    await found_chain(engine)
    first, second = [await engine.reserve(ACME, feature=TOKENS) for _ in range(2)]
    assert (first.reservation.amount, first.reservation.expires_at_ms) == (1, NOW_MS + HOUR_MS)
    assert first.id != second.id
    assert (await numbers(engine))["account"] == (0, 2)


# Settling and releasing.


@pytest.mark.parametrize("amount", [0, 30, 75, 75.5, 2_000])
async def test_what_was_used_is_counted_and_all_that_was_held_is_given_back(
    engine: AsyncHeadgate, amount: float
) -> None:
    await found_chain(engine)
    made = await hold(engine, 75)
    await hold(engine, 10)
    settled = await made.settle(amount)
    assert (settled.status, settled.amount, settled.settled) == (ReservationStatus.SETTLED, 75, amount)
    assert settled.expires_at_ms == NOW_MS + HOUR_MS
    assert made.reservation == settled
    assert await numbers(engine) == everywhere(amount, 10)


async def test_a_release_uses_nothing(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await spend(engine, 5, **ANN)
    made = await hold(engine, 75)
    released = await made.release()
    assert (released.status, released.settled) == (ReservationStatus.RELEASED, 0)
    assert await numbers(engine) == everywhere(5, 0)


async def test_a_process_ends_by_its_id_what_another_began(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    for id in ("job-1", "job-2"):
        await hold(engine, 75, id=id)
    other = target.open()
    assert (await other.reservations.settle(ACME, "job-1", 30)).settled == 30
    assert (await other.reservations.release(ACME, "job-2")).status is ReservationStatus.RELEASED
    assert await numbers(engine) == everywhere(30, 0)
    assert await status(engine, "job-1") is ReservationStatus.SETTLED


async def test_an_end_that_is_repeated_answers_the_same_and_changes_nothing(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_chain(engine)
    first, second = await hold(engine, 75), await hold(engine, 75)
    settled, released = await first.settle(30), await second.release()
    before = target.dump()
    assert await first.settle(30) == settled
    assert await second.release() == released
    assert await engine.reservations.settle(ACME, first.id, 30) == settled
    assert await engine.reservations.release(ACME, second.id) == released
    assert target.dump() == before


async def test_another_end_than_the_first_is_a_conflict_and_changes_nothing(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_chain(engine)
    settled, released = await hold(engine, 75), await hold(engine, 75)
    await settled.settle(30)
    await released.release()
    before = target.dump()
    for end in (settled.release, lambda: settled.settle(31), lambda: released.settle(30), lambda: released.settle(0)):
        with pytest.raises(Conflict):
            await end()
    assert target.dump() == before


async def test_an_unknown_reservation_is_not_found(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await hold(engine, 75, id="job-1")
    reservations = engine.reservations
    for customer, id in ((ACME, "job-2"), ("cus-none", "job-1")):
        for call in (
            reservations.get(customer, id),
            reservations.settle(customer, id, 1),
            reservations.release(customer, id),
            reservations.extend(customer, id, 60),
        ):
            with pytest.raises(NotFound):
                await call


async def test_what_was_reported_and_consumed_meanwhile_stays_counted(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    made = await hold(engine, 75)
    await spend(engine, 10, **ANN)
    await count(engine, 1_000, **ANN)
    assert await numbers(engine) == everywhere(1_010, 75)
    await made.settle(30)
    assert await numbers(engine) == everywhere(1_040, 0)


async def test_a_report_that_sets_the_usage_leaves_what_is_held(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    made = await hold(engine, 75)
    await count(engine, 500, "SET", **ANN)
    assert await numbers(engine) == everywhere(500, 75)
    await made.settle(30)
    assert await numbers(engine) == everywhere(530, 0)


# Changes of the configuration while a hold is open: the record decides.


async def test_a_settle_counts_where_the_hold_was_taken_whatever_was_moved_since(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await budget(engine, "team-ops", 1_000, parent="org-acme")
    made = await hold(engine, 75)
    await budget(engine, "user-ann", 1_000, parent="team-ops")
    assert (await numbers(engine))["team-eng"] == (0, 75)
    await made.settle(30)
    assert await numbers(engine) == {**everywhere(30, 0), "team-ops": (0, 0)}


async def test_an_archived_team_gets_back_what_was_held(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    made = await hold(engine, 75)
    await engine.governance.archive(ACME, ["team-eng"])
    await made.settle(30)
    await engine.governance.unarchive(ACME, ["team-eng"])
    assert await numbers(engine) == everywhere(30, 0)


async def test_a_settle_is_not_refused_by_a_limit_that_was_lowered_or_taken_away(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    first, second = await hold(engine, 75), await hold(engine, 75)
    await entitle(engine, 10)
    await budget(engine, "team-eng", 5, parent="org-acme")
    assert (await first.settle(75)).settled == 75
    await engine.customers.revoke_entitlement(ACME, feature=TOKENS)
    assert (await second.settle(75)).settled == 75
    await entitle(engine, 1_000)
    assert await numbers(engine) == everywhere(150, 0)


async def test_no_settle_asks_what_applies_now(target: Target, engine: AsyncHeadgate) -> None:
    """One call, by the record: nothing is loaded, and no stamp is compared."""
    await found_chain(engine)
    made = await hold(engine, 75)
    await entitle(engine, 10)
    target.scripts_sent()
    await made.settle(30)
    assert target.scripts_sent() == ["settle"]


# Periods.


async def test_a_hold_stays_when_its_period_ends_and_its_usage_belongs_to_the_period_it_was_taken_in(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_acme(engine, account=100)  # by calendar month
    await budget(engine, "user-ann", 100, cadence="P1Y")
    clock.set(MARCH_END_MS - 1_000)
    rolled, idle = await hold(engine, 40, expires_in=DAY_MS / 1_000), await hold(engine, 30, expires_in=HOUR_MS / 1_000)
    await rolled.settle(25)
    assert await numbers(engine) == {"account": (25, 30), "user-ann": (25, 30)}
    clock.set(MARCH_END_MS)
    assert await numbers(engine) == {"account": (0, 30), "user-ann": (25, 30)}
    assert not await spend(engine, 71)
    assert await spend(engine, 70)
    await idle.settle(20)
    assert await numbers(engine) == {"account": (70, 0), "user-ann": (45, 0)}


async def test_a_hold_of_an_ended_period_is_taken_back_where_nothing_was_written_since(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_acme(engine, account=100)
    clock.set(MARCH_END_MS - 1_000)
    made = await hold(engine, 40, dimensions=None)
    clock.set(MARCH_END_MS)
    await made.settle(30)
    assert (await numbers(engine))["account"] == (0, 0)
    assert await spend(engine, 100)


# The same id.


async def test_the_same_request_under_the_same_id_is_the_same_reservation(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_chain(engine)
    first = await hold(engine, 75, id="job-1")
    before = target.dump()
    again = await hold(target.open(), 75, id="job-1")
    assert again
    assert (again.decision, again.reservation) == (None, await engine.reservations.get(ACME, "job-1"))
    assert again.require() is again
    assert target.dump() == before
    await again.settle(30)
    assert (await first.settle(30)).settled == 30
    assert await numbers(engine) == everywhere(30, 0)


async def test_a_dimension_is_the_same_however_its_value_is_written(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    for number, (value, same) in enumerate(((42, 42.0), (True, "true"), ("\ud800", "\ud800"))):
        made = await hold(engine, 5, id=f"job-{number}", dimensions={"teamId": value})
        again = await hold(engine, 5, id=made.id, dimensions={"teamId": same})
        assert again.reservation == await engine.reservations.get(ACME, made.id)
    assert (await numbers(engine))["account"] == (0, 15)


@pytest.mark.parametrize(
    "other",
    [
        {"amount": 74},
        {"feature": "feature-seats"},
        {"dimensions": {"teamId": "team-eng"}},
        {"dimensions": None},
        {"expires_in": 60},
        {"metadata": {"trace": "b"}},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_another_request_under_an_id_that_is_taken_is_a_conflict(
    target: Target, engine: AsyncHeadgate, other: dict[str, Any]
) -> None:
    await found_chain(engine)
    await engine.customers.grant_entitlement(ACME, {"feature": "feature-seats", "usage_limit": 100})
    await hold(engine, 75, id="job-1", metadata={"trace": "a"})
    request = {"feature": TOKENS, "amount": 75, "dimensions": ANN, "metadata": {"trace": "a"}, **other}
    before = target.dump()
    with pytest.raises(Conflict, match="job-1"):
        await engine.reserve(ACME, id="job-1", **request)
    assert target.dump() == before


async def test_an_id_is_that_of_one_customer(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await engine.customers.put("cus-other")
    await engine.customers.grant_entitlement("cus-other", {"feature": TOKENS, "usage_limit": 10})
    await hold(engine, 75, id="job-1")
    assert await engine.reserve("cus-other", feature=TOKENS, amount=5, id="job-1")
    assert (await engine.reservations.get("cus-other", "job-1")).amount == 5
    assert (await numbers(engine))["account"] == (0, 75)


async def test_a_refusal_takes_no_id(engine: AsyncHeadgate) -> None:
    await found_chain(engine, team=10)
    assert not await hold(engine, 11, id="job-1")
    assert await hold(engine, 10, id="job-1")


async def test_a_request_that_is_repeated_after_its_end_says_how_it_ended_and_holds_nothing(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_chain(engine)
    await (await hold(engine, 75, id="job-1")).settle(30)
    await (await hold(engine, 75, id="job-2")).release()
    before = target.dump()
    settled, released = await hold(engine, 75, id="job-1"), await hold(engine, 75, id="job-2")
    assert (settled.reservation.status, settled.reservation.settled) == (ReservationStatus.SETTLED, 30)
    assert released.reservation.status is ReservationStatus.RELEASED
    assert (await settled.settle(30)).settled == 30
    for id in ("job-1", "job-2"):
        async with hold(engine, 75, id=id) as again:
            assert not again, "nothing is held"
            for use in (again.require, lambda again=again: again.count(5)):
                with pytest.raises(Conflict, match="another id"):
                    use()
    assert target.dump() == before


async def test_a_request_that_is_repeated_is_answered_though_it_would_be_denied_by_now(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_chain(engine)
    await hold(engine, 75, id="job-1")
    await engine.customers.revoke_entitlement(ACME, feature=TOKENS)
    again = await hold(target.open(), 75, id="job-1")
    assert (again.granted, again.decision, again.reservation.amount) == (True, None, 75)
    with pytest.raises(Conflict, match="job-1"):
        await hold(engine, 74, id="job-1")
    assert not await hold(engine, 75, id="job-2")
    await again.settle(30)
    await entitle(engine, 1_000)
    assert await numbers(engine) == everywhere(30, 0)
