"""What a decision tells beside its verdict, for whoever shows it: anchors, when to ask again, and the currency."""

from __future__ import annotations

from typing import Final

import pytest

from behaviour.commerce import DAY_MS, MARCH_END_MS
from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, SSO, TOKENS, ask, budget, entitle, found_acme
from headgate import AsyncHeadgate, Currency, Feature, InvalidInput, ManualClock

CREDITS: Final = "currency-credits"


async def test_a_check_tells_what_its_account_counts_from_and_when_to_ask_again(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_acme(engine)
    decision = await ask(engine)
    assert (decision.anchor_ms, decision.valid_until_ms) == (NOW_MS - 9 * DAY_MS - DAY_MS // 2, MARCH_END_MS)
    await budget(engine, "team-eng", 10, cadence="P1D")
    assert (await ask(engine, teamId="team-eng")).valid_until_ms == NOW_MS + DAY_MS
    clock.advance(DAY_MS)
    assert (await ask(engine, teamId="team-eng")).valid_until_ms == NOW_MS + 2 * DAY_MS


async def test_what_never_begins_again_and_what_is_denied_has_no_anchor(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await entitle(engine, 10, reset_period=None, reset_according_to=None)
    decision = await ask(engine)
    assert (decision.anchor_ms, decision.valid_until_ms) == (None, None)
    denied = await engine.check(ACME, feature=SSO)
    assert (denied.anchor_ms, denied.valid_until_ms) == (None, None)


async def test_a_decision_about_credits_has_the_currency_from_the_catalog(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await engine.catalog.put_currencies([{"id": CREDITS, "display_name": "Credits"}])
    for customer in (ACME, "cus-none"):
        decision = await engine.check(customer, currency=CREDITS)
        assert decision.currency_details is not None
        assert decision.currency_details.display_name == "Credits"
    assert (await engine.check(ACME, currency="currency-none")).currency_details is None
    assert (await ask(engine)).currency_details is None


# What an id names.


async def test_an_id_is_a_features_or_else_a_currencys_and_what_is_unknown_is_left_out(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await engine.catalog.put_currencies([{"id": CREDITS}, {"id": TOKENS}])
    found = await engine.catalog.find([TOKENS, CREDITS, "nothing", TOKENS])
    assert {id: type(each) for id, each in found.items()} == {TOKENS: Feature, CREDITS: Currency}
    assert await engine.catalog.find([]) == {}


async def test_what_another_process_has_just_made_is_found(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    assert await engine.catalog.find([CREDITS]) == {}
    await target.open().catalog.put_currencies([{"id": CREDITS}])
    assert list(await engine.catalog.find([CREDITS])) == [CREDITS]


async def test_to_find_what_is_known_asks_nobody(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await engine.catalog.find([TOKENS])
    target.scripts_sent()
    await engine.catalog.find([TOKENS, SSO])
    assert target.scripts_sent() == []


async def test_what_can_not_be_an_id_is_refused_by_its_place(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    with pytest.raises(InvalidInput) as caught:
        await engine.catalog.find([TOKENS, "a/b"])
    assert [problem.field for problem in caught.value.problems] == ["ids[1]"]
