"""Short ways to hold tokens for user-ann, and to read what is used and held at every level above her."""

from __future__ import annotations

from typing import Any, Final

from behaviour.world import ACME, TOKENS
from headgate import AsyncHeadgate, ReservationStatus

HOUR_MS: Final = 3_600_000
ANN: Final = {"userId": "user-ann"}
CHAIN: Final = ("account", "org-acme", "team-eng", "user-ann")


def hold(engine: AsyncHeadgate, amount: float = 75, **named: Any) -> Any:
    """Reserve an amount of tokens for user-ann."""
    return engine.reserve(ACME, **{"feature": TOKENS, "amount": amount, "dimensions": ANN, **named})


async def numbers(engine: AsyncHeadgate) -> dict[str, tuple[float, float]]:
    """What is used and held of every counter of tokens, by its name."""
    tree = await engine.governance.tree(ACME, feature=TOKENS)
    states = [tree.account, *(state for node in tree.walk() for state in node.states)]
    return {state.name: (state.used, state.held) for state in states}


async def status(engine: AsyncHeadgate, id: str) -> ReservationStatus:
    return (await engine.reservations.get(ACME, id)).status


def everywhere(used: float, held: float) -> dict[str, tuple[float, float]]:
    return dict.fromkeys(CHAIN, (used, held))
