"""What the numbers of an answer mean, wherever they are shown.

The current usage that a face shows is what counts towards a limit: what was used, and what open reservations hold. So
what is left is always the limit less the current usage, and current usage + what was requested ≤ limit is what a check
decided.
"""

from __future__ import annotations

from datetime import datetime

from headgate.amounts import AmountOutOfRange, add
from headgate.model.credits import GrantKind, Wallet
from headgate.model.decision import instant
from headgate.periods import FOREVER_END_MS, Period


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


def renewal(wallet: Wallet) -> datetime | None:
    """When the next recurring grant takes the place of one that is live now, or None where none recurs."""
    ends_ms = [
        grant.expires_at_ms
        for grant in wallet.grants
        if grant.kind is GrantKind.RECURRING and grant.expires_at_ms is not None
    ]
    return instant(min(ends_ms)) if ends_ms else None
