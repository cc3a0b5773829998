"""What is changed in one step: what others wrote meanwhile is kept, and of a list all is written or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.commerce import COINS, CREDITS, found_shop, give
from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, REGIONS, SEATS, SSO, TOKENS
from headgate import DuplicateId, Feature, InvalidInput, NotFound, PromotionalEntitlement

DAY_MS = 86_400_000
SOON_MS = NOW_MS + 60_000


async def test_a_change_of_a_feature_keeps_what_others_wrote_meanwhile(target: Target) -> None:
    await found_shop(target.engine)
    other = target.open_blocking()
    theirs = {"id": SSO, "feature_type": "BOOLEAN", "description": "theirs"}
    seen: list[str] = []

    def changed(present: Feature | None) -> dict[str, Any]:
        assert present is not None
        seen.append(present.description)
        return {**present.model_dump(), "display_name": "ours"}

    target.before("write_catalog", lambda: other.catalog.put_features([theirs]))
    written = await target.engine.catalog.change_feature(SSO, changed)
    assert (written.display_name, written.description) == ("ours", "theirs")
    assert seen == ["", "theirs"]
    assert (await target.engine.catalog.features())[SSO] == written


async def test_a_change_makes_what_is_not_there_yet(target: Target) -> None:
    made = await target.engine.catalog.change_currency("stars", lambda present: {"id": "stars", "symbol": "*"})
    assert (made.created_at_ms, made.updated_at_ms) == (NOW_MS, NOW_MS)
    assert await target.engine.catalog.currencies() == {"stars": made}


async def test_a_change_can_neither_rename_nor_turn_a_feature_into_another(target: Target) -> None:
    await found_shop(target.engine)
    before = target.dump()
    with pytest.raises(InvalidInput, match="must stay 'feature-sso'"):
        await target.engine.catalog.change_feature(SSO, lambda present: {"id": "other", "feature_type": "BOOLEAN"})
    with pytest.raises(InvalidInput, match="a feature keeps its type"):
        await target.engine.catalog.change_feature(SSO, lambda present: {"id": SSO, "feature_type": "NUMBER"})
    named = {"id": SSO, "feature_type": "BOOLEAN", "enum_display_names": {"a": "b"}}
    with pytest.raises(InvalidInput, match="only a feature of type ENUM has values"):
        await target.engine.catalog.change_feature(SSO, lambda present: named)
    with pytest.raises(InvalidInput, match="must stay 'currency-credits'"):
        await target.engine.catalog.change_currency(CREDITS, lambda present: {"id": "other"})
    assert target.dump() == before


async def test_a_customer_that_is_to_be_new_is_not_changed(target: Target) -> None:
    await found_shop(target.engine)
    put = target.engine.customers.put
    made = await put("new", name="New", metadata={"a": "b"}, only_new=True)
    target.clock.advance(60_000)
    assert await put("new", name="New", metadata={"a": "b"}, only_new=True) == made
    for other in ({"name": "Other", "metadata": {"a": "b"}}, {"name": "New"}, {}):
        with pytest.raises(DuplicateId, match="customer 'new' is there already"):
            await put("new", only_new=True, **other)
    assert await target.engine.customers.get("new") == made


async def test_an_entitlement_says_since_when_it_is_as_it_is(target: Target) -> None:
    await found_shop(target.engine)
    grant = target.engine.customers.grant_entitlement
    first = await grant(ACME, {"feature": SSO, "created_at_ms": 1, "updated_at_ms": 2})
    assert (first.created_at_ms, first.updated_at_ms) == (NOW_MS, NOW_MS)
    target.clock.advance(60_000)
    assert await grant(ACME, {"feature": SSO}) == first
    changed = await grant(ACME, {"feature": SSO, "expires_at_ms": NOW_MS + DAY_MS})
    assert (changed.created_at_ms, changed.updated_at_ms) == (NOW_MS, SOON_MS)
    revoked = await target.engine.customers.revoke_entitlement(ACME, feature=SSO)
    assert revoked == changed.model_copy(update={"revoked_at_ms": SOON_MS})
    again = await grant(ACME, {"feature": SSO, "expires_at_ms": NOW_MS + DAY_MS})
    assert again == changed


@pytest.mark.parametrize(
    ("lasting", "days"), [("P1D", 1), ("P1W", 7), ("P1M", 31), ("P6M", 184), ("P1Y", 365)], ids=str
)
async def test_an_entitlement_lasts_so_long_from_the_servers_time_on(target: Target, lasting: str, days: int) -> None:
    await found_shop(target.engine)
    given = await target.engine.customers.grant_entitlement(ACME, {"feature": SSO}, lasting=lasting)
    assert given.expires_at_ms == NOW_MS + days * DAY_MS


async def test_expired_entitlements_are_read_where_they_are_asked_for(target: Target) -> None:
    await found_shop(target.engine)
    await target.engine.customers.grant_entitlements(ACME, [{"feature": SSO}, {"feature": SEATS, "usage_limit": 1}])
    await target.engine.customers.grant_entitlement(ACME, {"feature": SSO}, lasting="P1D")
    target.clock.advance(DAY_MS)
    assert list(await target.engine.customers.entitlements(ACME)) == [SEATS]
    assert list(await target.engine.customers.entitlements(ACME, include_expired=True)) == [SEATS, SSO]
    await target.engine.customers.revoke_entitlement(ACME, feature=SSO)
    assert list(await target.engine.customers.entitlements(ACME, include_expired=True)) == [SEATS]


async def test_entitlements_of_one_call_are_all_given_or_none(target: Target) -> None:
    await found_shop(target.engine)
    grant = target.engine.customers.grant_entitlements
    given = await grant(
        ACME, [{"feature": SSO}, PromotionalEntitlement(feature=SEATS, usage_limit=5)], lasting={SSO: "P1D"}
    )
    assert [(each.feature, each.expires_at_ms) for each in given] == [(SSO, NOW_MS + DAY_MS), (SEATS, None)]
    assert await target.engine.customers.entitlements(ACME) == {each.feature: each for each in given}
    before = target.dump()
    assert await grant(ACME, given) == given
    assert target.dump() == before


BAD: dict[str, tuple[list[Any], dict[str, str] | None, str]] = {
    "none": ([], None, "entitlements: 0: one call takes 1 to 100"),
    "too many": ([{"feature": f"f-{index}"} for index in range(101)], None, "entitlements: 101"),
    "one twice": ([{"feature": SSO}, {"feature": SSO}], None, "entitlements[1].feature: 'feature-sso': is in the"),
    "a bad second": ([{"feature": SSO}, {"feature": SSO, "limit": 1}], None, "entitlements[1].limit: 1: unknown field"),
    "one that does not fit": (
        [{"feature": SSO}, {"feature": REGIONS, "enum_values": ["mars"]}],
        None,
        "entitlements[1].enum_values",
    ),
    "one that is over": ([{"feature": SSO}, {"feature": SEATS, "usage_limit": 1, "expires_at_ms": 5}], None, "[1].exp"),
    "two ends": ([{"feature": SSO, "expires_at_ms": SOON_MS}], {SSO: "P1D"}, "lasting: 'P1D': give it, or expires_at"),
    "no span": ([{"feature": SSO}], {SSO: "1 week"}, "lasting: '1 week'"),
    "a span of nothing": ([{"feature": SSO}], {SEATS: "P1D"}, "is none of the features"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=list(BAD))
async def test_where_one_entitlement_is_bad_none_is_given(
    target: Target, case: tuple[list[Any], dict[str, str] | None, str]
) -> None:
    await found_shop(target.engine)
    entitlements, lasting, told = case
    before = target.dump()
    with pytest.raises(InvalidInput) as caught:
        await target.engine.customers.grant_entitlements(ACME, entitlements, lasting=lasting)
    assert told in str(caught.value)
    assert target.dump() == before


async def test_an_entitlement_to_what_is_unknown_lets_none_be_given(target: Target) -> None:
    await found_shop(target.engine)
    before = target.dump()
    with pytest.raises(NotFound, match="feature 'nothing'"):
        await target.engine.customers.grant_entitlements(ACME, [{"feature": SSO}, {"feature": "nothing"}])
    with pytest.raises(InvalidInput, match="lasting: '1 week'"):
        await target.engine.customers.grant_entitlement(ACME, {"feature": SSO}, lasting="1 week")
    assert target.dump() == before


async def test_grants_and_ledger_are_read_of_one_currency_or_of_all(target: Target) -> None:
    await found_shop(target.engine)
    credits = target.engine.credits
    await give(target.engine, 10, id="one", comment="why", metadata={"a": "b"})
    await give(target.engine, 20, id="two", currency=COINS)
    await target.engine.reserve(ACME, currency=CREDITS, amount=4, id="hold")
    await target.engine.customers.grant_entitlement(ACME, {"feature": TOKENS, "usage_limit": 5})
    await target.engine.reserve(ACME, feature=TOKENS, amount=4, id="no-credits")
    grants = await credits.grants(ACME)
    assert [(each.id, each.currency, each.comment, each.metadata) for each in grants] == [
        ("two", COINS, "", {}),
        ("one", CREDITS, "why", {"a": "b"}),
    ]
    assert grants[1:] == await credits.grants(ACME, currency=CREDITS)
    entries = await credits.ledger(ACME)
    assert [(each.grant or each.reservation, each.currency) for each in entries] == [
        ("one", CREDITS),
        ("two", COINS),
        ("hold", CREDITS),
    ]
    assert [[charge.as_dict() for charge in each.set_aside] for each in entries] == [
        [],
        [],
        [{"grant": "one", "amount": 4}],
    ]
    assert await credits.ledger(ACME, currency=COINS) == entries[1:2]
