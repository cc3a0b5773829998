"""Sweeping: free holds whose expiry has passed. However many sweep at once, none is freed twice: the record decides."""

from __future__ import annotations

from typing import Final

from headgate import holds
from headgate.cache import State
from headgate.calls import Verb
from headgate.errors import HeadgateError, InvalidInput
from headgate.verbs.environment import open_environment

WAITING_MAX: Final = 5_000
"""How many customers of a partition are swept at once, at most."""


def sweep_customer(state: State, customer: str, *, records: bool = False, at_most: int | None = None) -> Verb[int]:
    """Free every hold of a customer that is due, or the earliest so many; return how many this call freed.

    With `records`, also drop all records whose time has passed; without, those that come along. Where nothing is due,
    what says that something was is put right all the same: nobody would be answered otherwise.
    """
    environment = yield from open_environment(state)
    keys = environment.keyspace.customer(customer)
    freed = 0
    while True:  # each round ends what it found, and the deadline ends the rounds
        due = holds.unpack_due((yield holds.find_call(keys)))
        call, chosen = holds.free_call(keys, customer, due)
        reply = yield call
        freed += int(reply[2])
        most = max(len(due), int(reply[3]) if records else 0)
        is_done = chosen == len(due) and most < holds.FREED_MAX
        if is_done or (at_most is not None and freed >= at_most):
            return freed


def sweep(state: State, *, customers_max: object) -> Verb[int]:
    """Free the holds that are due of customers nobody calls, over all partitions; return how many this call freed.

    A customer whose data is damaged does not stand in the way of the others: its error comes when all are swept.
    """
    if isinstance(customers_max, bool) or not isinstance(customers_max, int) or not 1 <= customers_max <= WAITING_MAX:
        raise InvalidInput.of("customers_a_partition", customers_max, f"must be a whole number from 1 to {WAITING_MAX}")
    environment = yield from open_environment(state)
    keyspace = environment.keyspace
    freed, failure = 0, None
    for partition in range(keyspace.partitions):
        reply = yield holds.waiting_call(keyspace, partition, customers_max)
        for customer in reply[2:]:
            try:
                freed += yield from sweep_customer(state, customer.decode(), records=True)
            except HeadgateError as error:
                failure = failure or error
    state.metrics.holds_swept += freed
    if failure is not None:
        failure.add_note(f"{freed} holds of other customers were freed")
        raise failure
    return freed
