"""The two engines are one: the same methods, parameters, defaults and docstrings; one returns, the other is awaited."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from headgate import AsyncHeadgate, AsyncHold, AsyncOfflineHeadgate, Headgate, Hold, OfflineHeadgate
from headgate.client import (
    async_api_keys,
    async_holds,
    async_namespaces,
    offline,
    sync_api_keys,
    sync_holds,
    sync_namespaces,
)
from headgate.testing import AsyncFakeHeadgate, FakeHeadgate

PAIRS = {
    "the engine": (Headgate, AsyncHeadgate),
    "engine.catalog": (sync_namespaces.CatalogMethods, async_namespaces.AsyncCatalogMethods),
    "engine.customers": (sync_namespaces.CustomerMethods, async_namespaces.AsyncCustomerMethods),
    "engine.subscriptions": (sync_namespaces.SubscriptionMethods, async_namespaces.AsyncSubscriptionMethods),
    "engine.credits": (sync_namespaces.CreditMethods, async_namespaces.AsyncCreditMethods),
    "engine.governance": (sync_namespaces.GovernanceMethods, async_namespaces.AsyncGovernanceMethods),
    "engine.api_keys": (sync_api_keys.ApiKeyMethods, async_api_keys.AsyncApiKeyMethods),
    "engine.reservations": (sync_holds.ReservationMethods, async_holds.AsyncReservationMethods),
    "a hold": (Hold, AsyncHold),
    "the offline engine": (OfflineHeadgate, AsyncOfflineHeadgate),
    "engine.catalog of the offline engine": (offline.OfflineCatalogMethods, offline.AsyncOfflineCatalogMethods),
    "the engine of headgate.testing": (FakeHeadgate, AsyncFakeHeadgate),
}
PLAIN_ON_BOTH = {
    *("connect", "updates", "metrics", "clock", "environment", "settings"),
    *("reserve", "require", "count", "id", "granted", "decision"),
}
"""What is not awaited on either: it makes an engine, an iterator, a hold to wait for, or reads what is in memory."""

RETURNS = {"Iterator[Update]": "AsyncIterator[Update]", "Hold": "Reserving"}


def public(kind: type) -> dict[str, Any]:
    return {
        name: inspect.getattr_static(kind, name)
        for name in dir(kind)
        if not name.startswith("_") and name not in ("mro",)
    }


def function_of(member: Any) -> Callable[..., Any]:
    if isinstance(member, property):
        assert member.fget is not None
        return member.fget
    return getattr(member, "__func__", member)  # type: ignore[no-any-return]


@pytest.mark.parametrize("pair", PAIRS)
def test_both_have_the_same_public_names(pair: str) -> None:
    blocking, awaited = PAIRS[pair]
    assert public(blocking).keys() == public(awaited).keys()
    assert public(blocking)


@pytest.mark.parametrize("pair", PAIRS)
def test_methods_have_the_same_parameters_defaults_and_answers(pair: str) -> None:
    blocking, awaited = PAIRS[pair]
    for name, member in public(blocking).items():
        twin = public(awaited)[name]
        assert type(member) is type(twin), name
        one, other = (inspect.signature(function_of(each)) for each in (member, twin))
        assert one.parameters == other.parameters, name
        assert RETURNS.get(str(one.return_annotation), one.return_annotation) == other.return_annotation, name


@pytest.mark.parametrize("pair", PAIRS)
def test_methods_have_the_same_docstrings(pair: str) -> None:
    blocking, awaited = PAIRS[pair]
    for name, member in public(blocking).items():
        text = function_of(member).__doc__
        assert text, f"{name} has no docstring"
        assert text == function_of(public(awaited)[name]).__doc__, name


@pytest.mark.parametrize("pair", PAIRS)
def test_one_returns_and_the_other_is_awaited(pair: str) -> None:
    blocking, awaited = PAIRS[pair]
    for name, member in public(blocking).items():
        assert not inspect.iscoroutinefunction(function_of(member)), name
        is_awaited = inspect.iscoroutinefunction(function_of(public(awaited)[name]))
        assert is_awaited == (name not in PLAIN_ON_BOTH), name


def test_both_are_context_managers() -> None:
    assert inspect.signature(Headgate.__exit__) == inspect.signature(AsyncHeadgate.__aexit__)
    assert not hasattr(Headgate, "__aenter__")
    assert not hasattr(AsyncHeadgate, "__enter__")
    for kind in (AsyncHold, async_holds.Reserving):
        assert inspect.signature(Hold.__exit__) == inspect.signature(kind.__aexit__)
        assert not hasattr(kind, "__enter__")
    assert not hasattr(Hold, "__aenter__")
