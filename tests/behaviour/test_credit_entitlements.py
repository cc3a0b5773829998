"""What is said of one currency: its numbers where there is a wallet, and else why there is none."""

from __future__ import annotations

from behaviour.commerce import CREDITS, found_shop, give
from behaviour.readings import verdict
from behaviour.targets import Target
from behaviour.world import ACME
from headgate import CreditEntitlement, DeniedReason

NONE_LEFT = (False, DeniedReason.INSUFFICIENT_CREDITS)


async def test_it_has_the_numbers_of_the_wallet_and_access_while_it_has_what_is_requested(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await give(engine, amount=100)
    await engine.report(ACME, currency=CREDITS, value=40)
    found = await engine.credit_entitlement(ACME, CREDITS, requested_usage=60)
    assert isinstance(found, CreditEntitlement)
    assert (found.usage_limit, found.current_usage, found.remaining) == (100, 40, 60)
    assert (found.currency.id, found.requested_usage) == (CREDITS, 60)
    assert verdict(found) == (True, None)
    assert verdict(await engine.credit_entitlement(ACME, CREDITS, requested_usage=60.5)) == NONE_LEFT
    await engine.report(ACME, currency=CREDITS, value=60)
    assert verdict(await engine.credit_entitlement(ACME, CREDITS)) == NONE_LEFT


async def test_without_a_wallet_it_says_why(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    found = await engine.credit_entitlement(ACME, "currency-unknown")
    assert verdict(found) == (False, DeniedReason.ENTITLEMENT_NOT_FOUND)
    assert not isinstance(found, CreditEntitlement)
    assert verdict(await engine.credit_entitlement("nobody", CREDITS)) == (False, DeniedReason.CUSTOMER_NOT_FOUND)
    lacking = await engine.credit_entitlement(ACME, CREDITS, resource="site-99")
    assert verdict(lacking) == (False, DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND)
    assert verdict(await engine.credit_entitlement(ACME, CREDITS)) == NONE_LEFT


async def test_whether_there_is_what_was_asked_about_is_said_also_of_an_archived_customer(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    assert (await engine.entitlements(ACME)).entity_exists
    assert not (await engine.entitlements("nobody")).entity_exists
    assert not (await engine.entitlements(ACME, resource="site-99")).entity_exists
    await engine.customers.archive(ACME)
    assert (await engine.entitlements(ACME)).entity_exists
    assert not (await engine.entitlements(ACME, resource="site-99")).entity_exists
