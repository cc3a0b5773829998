"""Reading the ledger of a wallet, and every reservation of a customer. For people: it reads all that there is."""

from __future__ import annotations

from collections.abc import Mapping

from headgate import holds, keys
from headgate.cache import State
from headgate.calls import Verb
from headgate.errors import InvalidInput, NotFound
from headgate.holds import Record
from headgate.ledger import ledger
from headgate.model.ledger import LedgerEntry
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.verbs import wallets
from headgate.verbs.environment import open_environment
from headgate.verbs.loading import load


def reservations(
    state: State,
    customer: str,
    feature: str | None,
    currency: str | None,
    status: object,
) -> Verb[list[Reservation]]:
    """Read every reservation that is open, or ended within 24 hours, the earliest first."""
    if status is not None and (not isinstance(status, ReservationStatus) or status is ReservationStatus.REFUSED):
        raise InvalidInput.of("status", status, "must be ReservationStatus.OPEN, SETTLED, RELEASED or EXPIRED")
    records, read_at_ms = yield from _records(state, customer)
    return [
        each
        for each, _ in _told(customer, records, read_at_ms)
        if (feature is None or each.feature == feature)
        and (currency is None or each.currency == currency)
        and (status is None or each.status is status)
    ]


def credit_ledger(state: State, customer: str, currency: str | None, resource: str | None) -> Verb[list[LedgerEntry]]:
    """Tell what happened to the grants of a wallet and to what was reserved of it, the earliest first.

    Without a currency: of the wallets of all currencies.
    """
    grants = yield from wallets.grants(state, customer, currency, resource)
    records, read_at_ms = yield from _records(state, customer)
    of_wallet = [
        (each, record)
        for each, record in _told(customer, records, read_at_ms)
        if each.resource == resource and each.currency is not None and currency in (None, each.currency)
    ]
    return ledger(
        customer,
        grants,
        [(each, record.set_aside) for each, record in of_wallet],
        now_ms=read_at_ms,
        set_aside={each.id: record.charges for each, record in of_wallet},
    )


def _records(state: State, customer: str) -> Verb[tuple[dict[str, Record], int]]:
    _, loaded = yield from load(state, customer, fields=[keys.CUSTOMER])
    if keys.CUSTOMER not in loaded.documents:
        raise NotFound("customer", customer)
    environment = yield from open_environment(state)
    customer_keys = environment.keyspace.customer(customer)
    records: dict[str, Record] = {}
    cursor, read_at_ms = b"0", 0
    while True:
        reply = yield holds.list_call(customer_keys, cursor)
        read_at_ms, cursor = int(reply[1]), reply[2]
        for id, packed in zip(reply[3::2], reply[4::2], strict=True):
            records[id.decode()] = Record.unpack(packed)
        if cursor == b"0":
            return records, read_at_ms


def _told(customer: str, records: Mapping[str, Record], read_at_ms: int) -> list[tuple[Reservation, Record]]:
    told = [(record.reservation(id, customer, read_at_ms), record) for id, record in records.items()]
    return sorted(told, key=lambda each: (each[0].reserved_at_ms, each[0].id))
