"""Sweeping: free holds whose expiry has passed. However many sweep at once, none is freed twice: the record decides."""

from __future__ import annotations

from headgate import holds
from headgate.cache import State
from headgate.calls import Verb
from headgate.verbs.environment import open_environment


def freed_at_most(attempt: int) -> int:
    """How many holds a request frees before it is asked again, for the first time, the second, and so on.

    Most requests fit once a few are freed, and none has to wait for thousands.
    """
    return holds.FREED_MAX << 2 * attempt


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


def sweep(state: State, *, customers_max: int) -> Verb[int]:
    """Free the holds that are due of customers nobody calls, over all partitions; return how many this call freed."""
    environment = yield from open_environment(state)
    keyspace = environment.keyspace
    freed = 0
    for partition in range(keyspace.partitions):
        reply = yield holds.waiting_call(keyspace, partition, customers_max)
        for customer in reply[2:]:
            freed += yield from sweep_customer(state, customer.decode(), records=True)
    return freed
