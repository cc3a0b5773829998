"""A customer as the writes of a policy leave it, one after another: what the store would refuse is found before it.

No rule stands here. What a write would be judged by when it comes is asked now, of what is stored and what was foreseen
so far, at the server's present time; only the words are those of the policy file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from headgate import keys
from headgate.cache import Catalog
from headgate.errors import InvalidInput, NotFound, Problem
from headgate.model.base import Strict
from headgate.model.credits import Grant, GrantRequest, Grants
from headgate.model.customer import Customer, PromotionalEntitlement, Resource
from headgate.model.decision import instant
from headgate.model.subscription import Subscription, Subscriptions, SubscriptionUpsert
from headgate.policy import in_file_words, path_to
from headgate.verbs.applying.changes import Told
from headgate.verbs.credits import grant_made, require_room
from headgate.verbs.customers import documents_of, require_grantable
from headgate.verbs.subscriptions import fuller_wallets, provisioned, require_sound, require_wallet_room
from headgate.wire import Loaded

_SubscriptionKey = tuple[str | None, str]
"""The resource, and the id."""
_GrantKey = tuple[str, str | None, str]
"""The currency, the resource, and the id."""

# What a write calls the thing that it was given.
_THING: Final = re.compile(r"^(?:subscription|grant)\.")


@dataclass(frozen=True, slots=True)
class PresentCustomer:
    """What is stored of a customer and what it holds, at an instant of the server's."""

    now_ms: int
    customer: Customer | None = None
    resources: Mapping[str, Resource] = field(default_factory=dict)
    subscriptions: Mapping[_SubscriptionKey, Subscription] = field(default_factory=dict)
    entitlements: Mapping[str, PromotionalEntitlement] = field(default_factory=dict)
    grants: Mapping[_GrantKey, Grant] = field(default_factory=dict)

    @classmethod
    def of(cls, scanned: Loaded) -> PresentCustomer:
        """Take it from all documents of a customer."""
        # What has a document of its own comes first: one of the same id among others stands in its place.
        own = documents_of(scanned, Subscription, keys.ENDED_SUBSCRIPTION)
        for subscriptions in documents_of(scanned, Subscriptions, keys.subscriptions_field()):
            own += subscriptions.subscriptions
        given = documents_of(scanned, Grant, keys.ENDED_GRANT)
        for grants in documents_of(scanned, Grants, keys.wallet_field("")):
            given += grants.grants
        entitlements = documents_of(scanned, PromotionalEntitlement, keys.entitlement_field(""))
        return cls(
            now_ms=scanned.server_now_ms,
            customer=scanned.document(Customer, keys.CUSTOMER),
            resources={each.id: each for each in documents_of(scanned, Resource, keys.resource_field(""))},
            subscriptions={(each.resource, each.id): each for each in own},
            entitlements={each.feature: each for each in entitlements},
            grants={(each.currency, each.resource, each.id): each for each in given},
        )

    def has_passed(self, at_ms: int | None) -> bool:
        """Whether an instant is not to come any more."""
        return at_ms is not None and at_ms <= self.now_ms


class ForeseenCustomer:
    """What a customer will hold. Each method raises what the write of the same name would raise.

    `catalog` is the catalog as it will be: a policy writes it first.
    """

    def __init__(self, present: PresentCustomer, catalog: Catalog) -> None:
        self._now_ms = present.now_ms
        self._catalog = catalog
        self._subscriptions = dict(present.subscriptions)
        self._grants = dict(present.grants)

    def provision(self, wanted: SubscriptionUpsert) -> None:
        """Create a subscription, or change it."""
        assert wanted.id is not None, "a policy says it"
        require_sound(wanted)
        key, now_ms = (wanted.resource, wanted.id), self._now_ms
        kept = self._subscriptions_of(wanted.resource)
        after = provisioned(wanted.id, wanted, self._subscriptions.get(key), kept, self._catalog, now_ms=now_ms)
        for currency in fuller_wallets(after, kept, self._catalog, now_ms=now_ms):
            given = self._grants_of(currency, wanted.resource)
            require_wallet_room(currency, given, after, kept, self._catalog, now_ms=now_ms)
        self._subscriptions[key] = after

    def grant_entitlement(self, wanted: PromotionalEntitlement) -> None:
        """Give access to a feature."""
        require_grantable(wanted, self._catalog, now_ms=self._now_ms)

    def grant(self, wanted: GrantRequest) -> None:
        """Give credits under an id that was not given before."""
        assert wanted.id is not None, "a policy says it"
        made = grant_made(wanted.id, wanted, 0, now_ms=self._now_ms)
        given = self._grants_of(wanted.currency, wanted.resource)
        entitling = self._subscriptions_of(wanted.resource)
        require_room(wanted, given, entitling, self._catalog.packages, now_ms=self._now_ms)
        self._grants[wanted.currency, wanted.resource, wanted.id] = made

    def _subscriptions_of(self, resource: str | None) -> list[Subscription]:
        return [each for (where, _), each in self._subscriptions.items() if where == resource]

    def _grants_of(self, currency: str, resource: str | None) -> list[Grant]:
        return [each for (what, where, _), each in self._grants.items() if (what, where) == (currency, resource)]


@contextmanager
def told_in_file_words(
    told: Told, path: str, words: Mapping[str, str], present: PresentCustomer, *about: Strict | None
) -> Iterator[None]:
    """Turn what is refused inside into conflicts at the paths of the policy, in its words, with instants as such.

    `about` are the values that a refusal may take instants from.
    """
    try:
        yield
    except InvalidInput as refusal:
        instants_ms = {present.now_ms, *_instants_ms(about)}
        told.conflicts += [_in_file_words(problem, path, words, instants_ms) for problem in refusal.problems]
    except NotFound as refusal:
        told.conflicts.append(f"{path}: {refusal}")


def _instants_ms(about: Iterable[Strict | None]) -> Iterator[int]:
    for value in about:
        for name in type(value).model_fields if value is not None else ():
            at_ms = getattr(value, name)
            if name.endswith("_ms") and at_ms is not None:
                yield at_ms


def _in_file_words(problem: Problem, path: str, words: Mapping[str, str], instants_ms: set[int]) -> str:
    names = {name: word for word, name in words.items()}
    name = re.split(r"\W", _THING.sub("", problem.field), maxsplit=1)[0]
    rule = re.sub(r"\b\d+\b", lambda found: _shown(found[0], instants_ms), in_file_words(problem.rule, names))
    if name not in names:
        return f"{path}: {rule}"
    value = "" if problem.value is None else f"{_shown(str(problem.value), instants_ms)}: "
    return f"{path_to(path, names[name])}: {value}{rule}"


def _shown(number: str, instants_ms: set[int]) -> str:
    is_instant = number.isdecimal() and int(number) in instants_ms
    return instant(int(number)).isoformat() if is_instant else number
