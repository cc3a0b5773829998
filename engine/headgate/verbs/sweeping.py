"""Sweeping: free holds whose expiry has passed. However many sweep at once, none is freed twice: the record decides."""

from __future__ import annotations

from headgate import holds
from headgate.cache import State
from headgate.calls import Verb
from headgate.verbs.environment import open_environment


def sweep_customer(state: State, customer: str) -> Verb[int]:
    """Free every hold of a customer that is due; return how many this call freed."""
    environment = yield from open_environment(state)
    keys = environment.keyspace.customer(customer)
    freed = 0
    while True:
        due = holds.unpack_found((yield holds.find_call(keys)))
        if not due:
            return freed
        where = [(id, record.details if record else holds.NOTHING) for id, record in due]
        reply = yield holds.free_call(keys, customer, where)
        freed += int(reply[2])


def sweep(state: State, *, customers_max: int) -> Verb[int]:
    """Free the holds that are due of customers nobody calls, over all partitions; return how many this call freed."""
    environment = yield from open_environment(state)
    keyspace = environment.keyspace
    freed = 0
    for partition in range(keyspace.partitions):
        reply = yield holds.waiting_call(keyspace, partition, customers_max)
        for customer in reply[2:]:
            freed += yield from sweep_customer(state, customer.decode())
    return freed
