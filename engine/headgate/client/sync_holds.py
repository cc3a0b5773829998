"""Holds for threads: what `engine.reserve` gives, and `engine.reservations`."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Self

from headgate.client.arguments import optional_id
from headgate.client.held import Held
from headgate.errors import Conflict, HeadgateError, NotFound
from headgate.model.ids import require_id
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.verbs import ledgers, reservations, sweeping
from headgate.verbs.reservations import Made

if TYPE_CHECKING:
    from headgate.client.sync_client import Headgate


class Hold(Held):
    """An amount that is held for you. Settle it with what you used; leaving the `with` block gives the rest back.

    Leaving without having settled releases all of it, also by an exception; what was counted with `count` is settled
    instead. It is true if it was granted.
    """

    def __init__(self, engine: Headgate, made: Made) -> None:
        super().__init__(made)
        self._engine = engine

    def settle(self, amount: float | Decimal) -> Reservation:
        """Count what was used, and give the rest back. Repeating it changes nothing."""
        return self._end(reservations.used_of(amount), ReservationStatus.SETTLED)

    def release(self) -> Reservation:
        """Give all of it back: nothing was used."""
        return self._end(0.0, ReservationStatus.RELEASED)

    def extend(self, expires_in: float | timedelta | None = None) -> Reservation:
        """Let it last for so long (seconds, or a timedelta; as long as at first, if it is not given) from now on."""
        place = self.reservation.customer, self.id, self._lasts(expires_in)
        self.reservation = self._engine._run(reservations.extend(self._engine._state, *place))
        return self.reservation

    def _end(self, amount: float, outcome: ReservationStatus) -> Reservation:
        self._require_made()
        self._asked = self._asked or (amount, outcome)
        place = self.reservation.customer, self.id, self._details, amount, outcome
        try:
            self.reservation = self._engine._run(reservations.end_known(self._engine._state, *place))
        except (Conflict, NotFound):
            self._has_ended = True
            raise
        self._has_ended = True
        return self.reservation

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leaving = self._leaving()
        # The error that is on its way says more than this one would; what stays held then goes when it expires.
        with contextlib.suppress(HeadgateError) if error is not None else contextlib.nullcontext():
            if leaving is not None:
                self._end(*leaving)


class ReservationMethods:
    """Reservations by their ids: for whoever ends what another process began."""

    def __init__(self, engine: Headgate) -> None:
        self._engine = engine

    def get(self, customer: str, id: str) -> Reservation:
        """Read a reservation; it is known until 24 hours after its end."""
        place = require_id(customer, "customer"), require_id(id, "id")
        return self._engine._run(reservations.get(self._engine._state, *place))

    def settle(self, customer: str, id: str, amount: float | Decimal) -> Reservation:
        """Count what was used of a reservation, and give the rest back. Repeating it changes nothing."""
        place = require_id(customer, "customer"), require_id(id, "id"), reservations.used_of(amount)
        return self._engine._run(reservations.end(self._engine._state, *place, ReservationStatus.SETTLED))

    def release(self, customer: str, id: str) -> Reservation:
        """Give all of a reservation back. Repeating it changes nothing."""
        place = require_id(customer, "customer"), require_id(id, "id")
        return self._engine._run(reservations.end(self._engine._state, *place, 0.0, ReservationStatus.RELEASED))

    def extend(self, customer: str, id: str, expires_in: float | timedelta) -> Reservation:
        """Let an open reservation last for so long (seconds, or a timedelta) from now on."""
        place = require_id(customer, "customer"), require_id(id, "id"), reservations.lasts_of(expires_in)
        return self._engine._run(reservations.extend(self._engine._state, *place))

    def list(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        status: ReservationStatus | None = None,
    ) -> list[Reservation]:
        """Read every reservation that is open, or ended within 24 hours, the earliest first."""
        which = optional_id(feature, "feature"), optional_id(currency, "currency"), status
        verb = ledgers.reservations(self._engine._state, require_id(customer, "customer"), *which)
        return self._engine._set_up(verb)

    def sweep(self, *, customers_a_partition: int = 1_000) -> int:
        """Free what has expired, of customers whom nobody calls, too; return how many reservations this call freed."""
        return self._engine._set_up(sweeping.sweep(self._engine._state, customers_max=customers_a_partition))
