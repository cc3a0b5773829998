"""Whose an id of a subscription is. Ids are a customer's own: one that is to be looked up alone is claimed first.

A claim is for ever, and says nothing of whether there is such a subscription. Two customers may have subscriptions of
one id, as long as at most one of them has claimed it.
"""

from __future__ import annotations

from headgate import keys
from headgate.cache import State
from headgate.calls import Call, Reply, Verb
from headgate.errors import ConfigurationKeepsChanging, Conflict
from headgate.verbs.environment import ATTEMPTS_MAX, mend_partition, open_environment, refuse_status
from headgate.wire import Status

Owner = tuple[str, str | None]
"""A customer, and the resource of it or None."""


def claim(state: State, subscription: str, customer: str, resource: str | None) -> Verb[None]:
    """Let an id stand for a subscription of this customer, or of its resource; `Conflict` if it is another's."""
    wanted = customer if resource is None else f"{customer}:{resource}"  # no id has a colon
    reply = yield from _ask(state, "claim", subscription, wanted.encode())
    if reply[0] == Status.CONFLICT:
        raise Conflict(f"subscription {subscription!r} belongs to another customer or resource: take another id")


def owner(state: State, subscription: str) -> Verb[Owner | None]:
    """Find out whose an id is; None where nobody has claimed it."""
    reply = yield from _ask(state, "find_owner", subscription)
    if reply[0] == Status.ABSENT:
        return None
    customer, _, resource = reply[2].decode().partition(":")
    return customer, resource or None


def _ask(state: State, script: str, subscription: str, *arguments: bytes) -> Verb[Reply]:
    field = keys.claimed_subscription_field(subscription)
    for _ in range(ATTEMPTS_MAX):
        environment = yield from open_environment(state)
        places = environment.keyspace.names(subscription)
        reply = yield Call(script, places, (b"", field, *arguments), timed=0, writes=False)  # a claim may run twice
        refuse_status(state, reply[0])
        if reply[0] != Status.BLANK:
            return reply
        yield from mend_partition(state, subscription, None)
    raise ConfigurationKeepsChanging(f"the partition of subscription {subscription!r} was not there at every attempt")
