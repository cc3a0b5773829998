"""What a hold for threads and one for asyncio have in common: everything but the calls."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Self

from headgate.errors import Conflict, LimitReached
from headgate.model.decision import Decision
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.verbs import reservations
from headgate.verbs.reservations import Made

End = tuple[float, ReservationStatus]


class Held:
    """An amount that is held for somebody, and what leaving its block has to do."""

    def __init__(self, made: Made) -> None:
        self._details = made.details
        self._lasts_ms = made.lasts_ms
        self._is_held = made.reservation.status is ReservationStatus.OPEN
        self._is_ours = made.is_ours
        self._counted: float | None = None
        self._asked: End | None = None
        self._has_ended = not self._is_held
        self.reservation: Reservation = made.reservation

    @property
    def id(self) -> str:
        """The reservation's id."""
        return self.reservation.id

    @property
    def granted(self) -> bool:
        """Whether the amount was held for you when you got this: it was granted, and had not ended."""
        return self._is_held

    @property
    def decision(self) -> Decision | None:
        """What was decided, with every number; None where an id that was there already was given again."""
        return self.reservation.decision

    def __bool__(self) -> bool:
        return self.granted

    def require(self) -> Self:
        """Return the hold if the amount is held, else raise `LimitReached`, or `Conflict` where its id has ended."""
        self._require_made()
        if not self._is_held:
            raise Conflict(f"reservation {self.id!r} has ended, and nothing is held: give another id")
        return self

    def count(self, amount: float | Decimal) -> float:
        """Add to what was used so far, as a stream goes on; leaving the block settles the sum. Nothing is sent yet."""
        self.require()
        if self._asked is not None:
            raise Conflict(f"reservation {self.id!r} was settled or released already: nothing is counted any more")
        self._counted = reservations.counted(self._counted, amount)
        return self._counted

    def _require_made(self) -> None:
        if self.reservation.status is ReservationStatus.REFUSED:
            assert self.decision is not None
            raise LimitReached(self.decision)

    def _lasts(self, expires_in: float | timedelta | None) -> int:
        self.require()
        return self._lasts_ms if expires_in is None else reservations.lasts_of(expires_in)

    def _leaving(self) -> End | None:
        """What leaving the block does: what was asked for and may not have come about, else what was counted.

        What somebody else has made is only ended by whoever used of it.
        """
        if self._has_ended:
            return None
        if self._asked is not None:
            return self._asked
        if self._counted is not None:
            return self._counted, ReservationStatus.SETTLED
        return (0.0, ReservationStatus.RELEASED) if self._is_ours else None
