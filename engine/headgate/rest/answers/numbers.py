"""What the numbers of an answer mean, wherever they are shown.

`currentUsage` is what counts towards a limit: what was used, and what open reservations hold. So what is left is always
`usageLimit` − `currentUsage`, and a check's `currentUsage` + what was requested ≤ `usageLimit` is what it decided. How
much of it is only held is said beside it, as `held` or `reserved`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from headgate.amounts import AmountOutOfRange, add
from headgate.model.credits import GrantKind, Wallet
from headgate.model.decision import instant
from headgate.periods import FOREVER_END_MS, Period
from headgate.rest.shapes import Answer, Number


def standing(used: float, held: float) -> float:
    """What counts towards a limit. What a damaged counter holds is shown as it is."""
    try:
        return add(used, held)
    except AmountOutOfRange:
        return used + held


def period_span(period: Period) -> tuple[datetime, datetime] | None:
    """The start and the end of a period, or None for one that never ends."""
    if period.end_ms >= FOREVER_END_MS:
        return None
    return instant(period.start_ms), instant(period.end_ms)


class CreditBalance(Answer):
    """A wallet as a call left it."""

    currency_id: str
    current_usage: Annotated[Number, Field(description="used of the live grants, beyond them, and held of them")]
    usage_limit: Annotated[Number, Field(description="what the live grants were given")]
    timestamp: Annotated[datetime, Field(description="the server's instant at which the wallet stood so")]
    usage_period_end: Annotated[datetime | None, Field(description="when the next recurring grant takes over")]

    @classmethod
    def of(cls, wallet: Wallet) -> Self:
        """Show a wallet."""
        return cls(
            currency_id=wallet.currency,
            current_usage=standing(wallet.used, wallet.held),
            usage_limit=wallet.granted,
            timestamp=instant(wallet.read_at_ms),
            usage_period_end=renewal(wallet),
        )


def renewal(wallet: Wallet) -> datetime | None:
    """When the next recurring grant takes the place of one that is live now, or None where none recurs."""
    ends_ms = [
        grant.expires_at_ms
        for grant in wallet.grants
        if grant.kind is GrantKind.RECURRING and grant.expires_at_ms is not None
    ]
    return instant(min(ends_ms)) if ends_ms else None
