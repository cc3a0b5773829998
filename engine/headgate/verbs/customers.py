"""Customers, their resources, and what they are given directly.

Idempotent upserts, guarded by the token that they were validated against.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from headgate import keys, wire
from headgate.cache import Catalog, State
from headgate.calls import Call, Verb
from headgate.errors import ConfigurationKeepsChanging, DuplicateId, InvalidInput, NotFound, Problem
from headgate.fitting import misfits
from headgate.model.customer import Customer, PromotionalEntitlement, Resource
from headgate.model.packages import repeated
from headgate.periods import Cadence, Schedule
from headgate.verbs.environment import ATTEMPTS_MAX, mend_partition, open_environment, refuse_status
from headgate.verbs.loading import load
from headgate.verbs.scanning import scan
from headgate.wire import Document, Loaded, Status

ENTITLEMENTS_MAX: Final = 100
"""How many promotional entitlements one call may write."""


def given(**fields: Any) -> dict[str, Any]:
    """The fields that a caller gave: those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def configure(
    state: State,
    customer: str,
    loaded: Loaded,
    documents: Mapping[bytes, bytes],
    *,
    next_number: int | None = None,
) -> Verb[bool]:
    """Write documents that were validated against a load. False if the configuration has changed since."""
    environment = yield from open_environment(state)
    customer_keys = environment.keyspace.customer(customer)
    version = os.urandom(8)
    reply = yield Call(
        "configure",
        (customer_keys.catalog, customer_keys.usage, customer_keys.config, customer_keys.partition_customers),
        (
            loaded.stamp.catalog_token,
            loaded.stamp.version,
            b"",
            version,
            b"%d" % (loaded.next_number if next_number is None else next_number),
            environment.keyspace.updates,
            wire.pack_update("customer", customer, version),
            customer.encode(),
            *(part for pair in documents.items() for part in pair),
        ),
        timed=2,
    )
    refuse_status(state, reply[0])
    if reply[0] == Status.BLANK:
        yield from mend_partition(state, customer, None)
    if reply[0] == Status.DONE:
        state.told.put(customer, version)
        state.entitlements.drop_customer(customer, version)
    return bool(reply[0] == Status.DONE)


def load_customer(
    state: State, customer: str, fields: Sequence[bytes], *, resource: str | None = None
) -> Verb[tuple[Catalog, Loaded]]:
    """Read documents of a customer; `NotFound` if there is none, or if a resource is named that it does not have."""
    named = [keys.CUSTOMER] if resource is None else [keys.CUSTOMER, keys.resource_field(resource)]
    catalog, loaded = yield from load(state, customer, fields=[*named, *fields])
    if keys.CUSTOMER not in loaded.documents:
        raise NotFound("customer", customer)
    if resource is not None and keys.resource_field(resource) not in loaded.documents:
        raise NotFound("customer resource", resource, within=f"of customer {customer!r}")
    return catalog, loaded


def keeps_changing(customer: str) -> ConfigurationKeepsChanging:
    """Make the error for a customer that was written by others at every attempt."""
    return ConfigurationKeepsChanging(f"other writers changed customer {customer!r} at every attempt")


def _change(
    state: State, customer: str, make: Callable[[Customer | None, int], Customer], *, missing_is_new: bool = False
) -> Verb[Customer]:
    for _ in range(ATTEMPTS_MAX):
        _, loaded = yield from load(state, customer, fields=[keys.CUSTOMER])
        present = loaded.document(Customer, keys.CUSTOMER)
        if present is None and not missing_is_new:
            raise NotFound("customer", customer)
        changed = make(present, loaded.server_now_ms)
        if present is not None and changed.model_copy(update={"updated_at_ms": present.updated_at_ms}) == present:
            return present
        if (yield from configure(state, customer, loaded, {keys.CUSTOMER: wire.pack_document(changed)})):
            return changed
    raise keeps_changing(customer)


def put(state: State, customer: str, fields: Mapping[str, Any], *, only_new: bool = False) -> Verb[Customer]:
    """Create a customer, or change the fields that are given. An archived customer stays archived.

    With `only_new`, none is changed: one that is there must be what creating it would make, else it is `DuplicateId`.
    """

    def make(present: Customer | None, now_ms: int) -> Customer:
        if only_new and present is not None:
            instants = {name: getattr(present, name) for name in ("created_at_ms", "updated_at_ms")}
            if Customer.accept({"id": customer, **instants, **fields}) != present:
                raise DuplicateId("customer", customer)
        kept = present.model_dump() if present else {"id": customer, "created_at_ms": now_ms}
        return Customer.accept({**kept, **fields, "updated_at_ms": now_ms})

    Customer.accept({"id": customer, "created_at_ms": 0, "updated_at_ms": 0, **fields})
    return (yield from _change(state, customer, make, missing_is_new=True))


def set_archived(state: State, customer: str, *, archived: bool) -> Verb[Customer]:
    """Archive a customer, whose checks are then denied, or take that back."""

    def make(present: Customer | None, now_ms: int) -> Customer:
        assert present is not None
        if (present.archived_at_ms is not None) == archived:
            return present
        return present.model_copy(update={"archived_at_ms": now_ms if archived else None, "updated_at_ms": now_ms})

    return (yield from _change(state, customer, make))


def get(state: State, customer: str) -> Verb[Customer]:
    """Read a customer; `NotFound` if there is none."""
    _, loaded = yield from load_customer(state, customer, [])
    present = loaded.document(Customer, keys.CUSTOMER)
    assert present is not None
    return present


def put_resource(state: State, customer: str, resource: str, fields: Mapping[str, Any]) -> Verb[Resource]:
    """Create a resource of a customer, or change the fields that are given."""
    Resource.accept({"id": resource, "created_at_ms": 0, "updated_at_ms": 0, **fields})
    field = keys.resource_field(resource)
    for _ in range(ATTEMPTS_MAX):
        _, loaded = yield from load_customer(state, customer, [field])
        now_ms, present = loaded.server_now_ms, loaded.document(Resource, field)
        kept = present.model_dump() if present else {"id": resource, "created_at_ms": now_ms, "updated_at_ms": now_ms}
        wanted = Resource.accept({**kept, **fields})
        if wanted == present:
            return wanted
        wanted = wanted.model_copy(update={"updated_at_ms": now_ms})
        if (yield from configure(state, customer, loaded, {field: wire.pack_document(wanted)})):
            return wanted
    raise keeps_changing(customer)


def resources(state: State, customer: str) -> Verb[list[Resource]]:
    """Read all resources of a customer, by id."""
    scanned = yield from scan_customer(state, customer)
    return sorted(documents_of(scanned, Resource, keys.resource_field("")), key=lambda each: each.id)


def grant_entitlement(
    state: State, customer: str, entitlement: PromotionalEntitlement, lasting: Cadence | None = None
) -> Verb[PromotionalEntitlement]:
    """Give a customer access to a feature, or change what was given. There is one for a feature.

    `lasting` says when it ends instead of `expires_at_ms`, counted on the calendar of UTC from the instant of writing.
    """
    (given,) = yield from _grant(
        state, customer, [entitlement], {} if lasting is None else {entitlement.feature: lasting}
    )
    return given


def grant_entitlements(
    state: State, customer: str, entitlements: Sequence[PromotionalEntitlement], lasting: Mapping[str, Cadence]
) -> Verb[list[PromotionalEntitlement]]:
    """Give a customer access to 1 to 100 features in one step: all of them, or none."""
    if not 1 <= len(entitlements) <= ENTITLEMENTS_MAX:
        raise InvalidInput.of("entitlements", len(entitlements), f"one call takes 1 to {ENTITLEMENTS_MAX}")
    twice = repeated(each.feature for each in entitlements)
    problems = [
        Problem(f"entitlements[{index}].feature", each.feature, "is in the list more than once")
        for index, each in enumerate(entitlements)
        if each.feature in twice
    ]
    if problems:
        raise InvalidInput(problems)
    return (yield from _grant(state, customer, entitlements, lasting, "entitlements"))


def _grant(
    state: State,
    customer: str,
    entitlements: Sequence[PromotionalEntitlement],
    lasting: Mapping[str, Cadence],
    field: str = "",
) -> Verb[list[PromotionalEntitlement]]:
    fields = {each.feature: keys.entitlement_field(each.feature) for each in entitlements}
    for _ in range(ATTEMPTS_MAX):
        catalog, loaded = yield from load_customer(state, customer, list(fields.values()))
        now_ms = loaded.server_now_ms
        given, changed, problems = list[PromotionalEntitlement](), dict[bytes, bytes](), list[Problem]()
        for index, entitlement in enumerate(entitlements):
            feature = entitlement.feature
            present = loaded.document(PromotionalEntitlement, fields[feature])
            wanted = _ending(entitlement, lasting.get(feature), now_ms)
            try:
                require_grantable(wanted, catalog, now_ms=now_ms)
            except InvalidInput as error:
                problems += (replace(each, field=_within(field, index, each.field)) for each in error.problems)
            given.append(_entitlement_after(present, wanted, now_ms))
            if given[-1] != present:
                changed[fields[feature]] = wire.pack_document(given[-1])
        if problems:
            raise InvalidInput(problems)
        if not changed or (yield from configure(state, customer, loaded, changed)):
            return given
    raise keeps_changing(customer)


def _within(field: str, index: int, name: str) -> str:
    return f"{field}[{index}].{name}" if field else name


def _ending(given: PromotionalEntitlement, lasting: Cadence | None, now_ms: int) -> PromotionalEntitlement:
    if lasting is None:
        return given
    return given.model_copy(update={"expires_at_ms": Schedule(lasting, now_ms).boundary_ms(1)})


def lasting_of(entitlement: PromotionalEntitlement, lasting: str | None) -> Cadence | None:
    """Read how long an entitlement is to last, such as `P1M`; not for one that says itself when it ends."""
    if lasting is None:
        return None
    if entitlement.expires_at_ms is not None:
        raise InvalidInput.of("lasting", lasting, "give it, or expires_at_ms, not both")
    try:
        return Cadence.parse(lasting)
    except ValueError as error:
        raise InvalidInput.of("lasting", lasting, str(error).rsplit(": ", 1)[-1]) from None


def lastings_of(
    entitlements: Iterable[PromotionalEntitlement], lasting: Mapping[str, str] | None
) -> dict[str, Cadence]:
    """Read how long entitlements are to last, by their features."""
    if not lasting:
        return {}
    read = {each.feature: lasting_of(each, lasting.get(each.feature)) for each in entitlements}
    for feature in lasting.keys() - read.keys():
        raise InvalidInput.of("lasting", feature, "is none of the features that are given")
    return {feature: span for feature, span in read.items() if span is not None}


def _entitlement_after(
    present: PromotionalEntitlement | None, given: PromotionalEntitlement, now_ms: int
) -> PromotionalEntitlement:
    """What is stored: it resets as it did, and when it was first given stays."""
    anchor_ms = given.reset_anchor_ms
    if anchor_ms is None and given.reset_period is not None:
        known_ms = present.reset_anchor_ms if present else None
        anchor_ms = now_ms if known_ms is None else known_ms
    created_at_ms = present.created_at_ms if present else now_ms
    updated_at_ms = present.updated_at_ms if present else now_ms
    kept = {"reset_anchor_ms": anchor_ms, "created_at_ms": created_at_ms, "updated_at_ms": updated_at_ms}
    wanted = given.model_copy(update=kept)
    return wanted if wanted == present else wanted.model_copy(update={"updated_at_ms": now_ms})


def revoke_entitlement(state: State, customer: str, feature: str) -> Verb[PromotionalEntitlement]:
    """Take an entitlement back: checks are denied as Revoked from the next call on. Usage stays."""
    field = keys.entitlement_field(feature)
    for _ in range(ATTEMPTS_MAX):
        _, loaded = yield from load_customer(state, customer, [field])
        present = loaded.document(PromotionalEntitlement, field)
        if present is None:
            raise NotFound("entitlement", feature, within=f"of customer {customer!r}")
        if present.revoked_at_ms is not None:
            return present
        revoked = present.model_copy(update={"revoked_at_ms": loaded.server_now_ms})
        if (yield from configure(state, customer, loaded, {field: wire.pack_document(revoked)})):
            return revoked
    raise keeps_changing(customer)


def entitlements(
    state: State, customer: str, *, include_expired: bool = False
) -> Verb[dict[str, PromotionalEntitlement]]:
    """Read what a customer was given directly and still has, by feature; what has expired too, where it is asked."""
    scanned = yield from scan_customer(state, customer)
    found = documents_of(scanned, PromotionalEntitlement, keys.entitlement_field(""))
    return {
        each.feature: each
        for each in sorted(found, key=lambda each: each.feature)
        if each.revoked_at_ms is None
        and (include_expired or each.expires_at_ms is None or scanned.server_now_ms < each.expires_at_ms)
    }


def scan_customer(state: State, customer: str) -> Verb[Loaded]:
    """Read every document of a customer; `NotFound` if there is none."""
    scanned = yield from scan(state, customer)
    if keys.CUSTOMER not in scanned.documents:
        raise NotFound("customer", customer)
    return scanned


def documents_of(scanned: Loaded, kind: type[Document], prefix: bytes) -> list[Document]:
    """The documents of one kind among those of a customer: the fields that begin with a prefix."""
    return [
        wire.unpack_document(kind, document)
        for field, document in scanned.documents.items()
        if field.startswith(prefix)
    ]


def require_grantable(entitlement: PromotionalEntitlement, catalog: Catalog, *, now_ms: int) -> None:
    """Refuse an entitlement that does not fit its feature, or that would have expired already."""
    _require_fit(catalog, entitlement)
    _require_to_come(entitlement, now_ms)


def _require_to_come(entitlement: PromotionalEntitlement, now_ms: int) -> None:
    expires_at_ms = entitlement.expires_at_ms
    if expires_at_ms is not None and expires_at_ms <= now_ms:
        raise InvalidInput.of("expires_at_ms", expires_at_ms, f"must be after the server's present time, {now_ms}")


def _require_fit(catalog: Catalog, entitlement: PromotionalEntitlement) -> None:
    feature = catalog.features.get(entitlement.feature)
    if feature is None:
        raise NotFound("feature", entitlement.feature)
    problems = misfits(feature, entitlement)
    if entitlement.revoked_at_ms is not None:
        problems.append(Problem("revoked_at_ms", entitlement.revoked_at_ms, "is set by revoking, not by granting"))
    if problems:
        raise InvalidInput(problems)
