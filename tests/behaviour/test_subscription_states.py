"""How subscriptions stand now, and provisioning one together with its resource and the claim of its id."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.targets import NOW_MS, Target
from headgate import AsyncHeadgate, Conflict, HeadgateError, InvalidInput, ManualClock, NotFound

DAY_MS = 86_400_000


@pytest.fixture
async def customers(target: Target) -> AsyncHeadgate:
    """An engine on an environment with two plans and two customers."""
    await target.engine.catalog.put_plans([{"id": "pro"}, {"id": "free"}])
    for customer in ("acme", "other"):
        await target.engine.customers.put(customer)
    return target.engine


async def test_a_state_tells_the_status_and_the_billing_period_of_now(
    customers: AsyncHeadgate, clock: ManualClock
) -> None:
    upsert = {"plan": "pro", "billing_period": "MONTHLY", "start_ms": NOW_MS + DAY_MS, "end_ms": NOW_MS + 40 * DAY_MS}
    await customers.subscriptions.provision("acme", upsert)
    seen = []
    for days in (0, 1, 35, 40):
        clock.set(NOW_MS + days * DAY_MS)
        state = await customers.subscriptions.state("acme", "pro")
        period = state.billing_period
        seen.append((state.status.value, period and ((period.start_ms - NOW_MS) // DAY_MS)))
    assert seen == [("NOT_STARTED", None), ("ACTIVE", 1), ("ACTIVE", 32), ("EXPIRED", None)]


async def test_states_are_those_of_the_customer_and_of_all_its_resources_as_created(
    customers: AsyncHeadgate, clock: ManualClock
) -> None:
    await customers.subscriptions.provision("acme", {"plan": "pro", "resource": "site"}, make_resource=True)
    clock.advance(1000)
    await customers.subscriptions.provision("acme", {"id": "b", "plan": "free"})
    await customers.subscriptions.provision("acme", {"id": "a", "plan": "free"})
    await customers.subscriptions.provision("other", {"plan": "free"})
    clock.advance(1000)
    await customers.subscriptions.cancel("acme", "b")
    states = [
        (each.subscription.id, each.subscription.resource, each.status.value)
        for each in await customers.subscriptions.states("acme")
    ]
    assert states == [("pro@site", "site", "ACTIVE"), ("a", None, "ACTIVE"), ("b", None, "CANCELED")]


async def test_states_tell_those_that_ended_long_ago_too(customers: AsyncHeadgate, clock: ManualClock) -> None:
    ids = [f"sub-{index:03}" for index in range(70)]
    for id in ids:
        await customers.subscriptions.provision("acme", {"id": id, "plan": "pro"})
        clock.advance(1000)
        await customers.subscriptions.cancel("acme", id)
    assert [each.subscription.id for each in await customers.subscriptions.states("acme")] == ids


async def test_states_of_nobody_are_not_found(customers: AsyncHeadgate) -> None:
    for asked in (
        customers.subscriptions.state("nobody", "pro"),
        customers.subscriptions.state("acme", "pro"),
        customers.subscriptions.state("acme", "pro", resource="site"),
        customers.subscriptions.states("nobody"),
    ):
        with pytest.raises(NotFound):
            await asked


async def test_a_resource_is_made_with_its_subscription_in_one_write(target: Target, customers: AsyncHeadgate) -> None:
    target.scripts_sent()
    made = await customers.subscriptions.provision("acme", {"plan": "pro", "resource": "site"}, make_resource=True)
    assert target.scripts_sent().count("configure") == 1
    (resource,) = await customers.customers.resources("acme")
    assert (resource.id, resource.created_at_ms) == ("site", NOW_MS)
    assert await customers.subscriptions.list("acme", resource="site") == [made]


async def test_a_resource_that_is_there_stays_as_it_is(customers: AsyncHeadgate) -> None:
    present = await customers.customers.put_resource("acme", "site", display_name="Site")
    await customers.subscriptions.provision("acme", {"plan": "pro", "resource": "site"}, make_resource=True)
    assert await customers.customers.resources("acme") == [present]


async def test_a_claimed_subscription_has_its_id_and_another_customers_is_a_conflict(
    target: Target, customers: AsyncHeadgate
) -> None:
    upsert = {"id": "main", "plan": "pro", "resource": "site"}
    for _ in range(2):
        await customers.subscriptions.provision("acme", upsert, claimed=True, make_resource=True)
        assert await customers.subscriptions.owner("main") == ("acme", "site")
    before = target.dump()
    for customer, fields in (("acme", {"id": "main", "plan": "pro"}), ("other", upsert)):
        with pytest.raises(Conflict):
            await customers.subscriptions.provision(customer, fields, claimed=True, make_resource=True)
    assert target.dump() == before


@pytest.mark.parametrize(
    ("customer", "fields", "error"),
    [
        ("acme", {"plan": "none"}, NotFound),
        ("nobody", {"plan": "pro"}, NotFound),
        ("acme", {"plan": "pro", "end_ms": 5}, InvalidInput),
        ("acme", {"plan": "pro", "addons": [{"addon": "none"}]}, InvalidInput),
        ("acme", {"plan": "pro", "entitlements": [{"feature": "none"}]}, InvalidInput),
    ],
)
async def test_where_something_is_wrong_nothing_is_made_and_nothing_claimed(
    target: Target, customers: AsyncHeadgate, customer: str, fields: dict[str, Any], error: type[HeadgateError]
) -> None:
    before = target.dump()
    upsert = {"id": "main", "resource": "site", **fields}
    with pytest.raises(error):
        await customers.subscriptions.provision(customer, upsert, claimed=True, make_resource=True)
    assert target.dump() == before
    assert await customers.subscriptions.owner("main") is None
