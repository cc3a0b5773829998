"""Sweeping: free holds whose expiry has passed. However many sweep at once, none is freed twice: the record decides."""

from __future__ import annotations

from headgate import holds
from headgate.cache import State
from headgate.calls import Verb
from headgate.verbs.environment import open_environment


def sweep_customer(state: State, customer: str, *, records: bool = False) -> Verb[int]:
    """Free every hold of a customer that is due; return how many this call freed.

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
        if chosen == len(due) and most < holds.FREED_MAX:
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
    state.metrics.holds_freed += freed
    return freed
