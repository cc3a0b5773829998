"""Holds for asyncio: what `engine.reserve` gives, and `engine.reservations`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from datetime import timedelta
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from headgate.calls import Verb
from headgate.client.arguments import optional_id
from headgate.errors import HeadgateError, LimitReached
from headgate.model.decision import Decision
from headgate.model.ids import require_id
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.verbs import ledgers, reservations, sweeping
from headgate.verbs.reservations import Made

if TYPE_CHECKING:
    from headgate.client.async_client import AsyncHeadgate


class AsyncHold:
    """An amount that is held for you. Settle it with what you used; leaving the `async with` block gives the rest back.

    Leaving without having settled releases all of it, also by an exception; what was counted with `count` is settled
    instead. It is true if it was granted.
    """

    def __init__(self, engine: AsyncHeadgate, made: Made) -> None:
        self._engine = engine
        self._details = made.details
        self._counted: float | None = None
        self._ended = made.reservation.status not in reservations.STILL_TO_END
        self.reservation = made.reservation

    @property
    def id(self) -> str:
        """The reservation's id."""
        return self.reservation.id

    @property
    def granted(self) -> bool:
        """Whether the amount is held."""
        return self.reservation.granted

    @property
    def decision(self) -> Decision | None:
        """What was decided, with every number; None where an id that was there already was given again."""
        return self.reservation.decision

    def __bool__(self) -> bool:
        return self.granted

    def require(self) -> Self:
        """Return the hold if it was granted, else raise `LimitReached`."""
        if not self.granted and self.decision is not None:
            raise LimitReached(self.decision)
        return self

    async def settle(self, amount: float | Decimal) -> Reservation:
        """Count what was used, and give the rest back. Repeating it changes nothing."""
        return await self._end(reservations.used_of(amount), ReservationStatus.SETTLED)

    async def release(self) -> Reservation:
        """Give all of it back: nothing was used."""
        return await self._end(0.0, ReservationStatus.RELEASED)

    async def extend(self, expires_in: float | timedelta) -> Reservation:
        """Let it last for so long (seconds, or a timedelta) from now on."""
        self.require()
        place = self.reservation.customer, self.id, reservations.lasts_of(expires_in)
        self.reservation = await self._engine._run(reservations.extend(self._engine._state, *place))
        return self.reservation

    def count(self, amount: float | Decimal) -> float:
        """Add to what was used so far, as a stream goes on; leaving the block settles the sum. Nothing is sent yet."""
        self._counted = reservations.counted(self._counted, amount)
        return self._counted

    async def _end(self, amount: float, outcome: ReservationStatus) -> Reservation:
        self.require()
        place = self.reservation.customer, self.id, self._details, amount, outcome
        self.reservation = await self._engine._run(reservations.end_known(self._engine._state, *place))
        self._ended = True
        return self.reservation

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ended:
            return
        ending = asyncio.ensure_future(self.release() if self._counted is None else self.settle(self._counted))
        canceled = await _until_done(ending)
        # The error that is on its way says more than this one would; what stays held then goes when it expires.
        is_quiet = error is not None or canceled is not None
        with contextlib.suppress(HeadgateError) if is_quiet else contextlib.nullcontext():
            ending.result()
        if canceled is not None:
            raise canceled


async def _until_done(work: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until something is done, which its deadline bounds, and return the cancellation that came meanwhile.

    A caller who is canceled while a hold is made or ended would not know what became of it.
    """
    canceled = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            canceled = error
    return canceled


class Reserving:
    """A reservation that is being made: `await` it, or use it with `async with`; either gives an `AsyncHold`."""

    def __init__(self, engine: AsyncHeadgate, verb: Verb[Made]) -> None:
        self._engine = engine
        self._verb = verb
        self._hold: AsyncHold | None = None

    async def _make(self) -> AsyncHold:
        if self._hold is not None:
            return self._hold
        making = asyncio.ensure_future(self._engine._run(self._verb))
        canceled = await _until_done(making)
        if canceled is None:
            self._hold = AsyncHold(self._engine, making.result())
            return self._hold
        with contextlib.suppress(HeadgateError):
            hold = AsyncHold(self._engine, making.result())
            if hold.granted and hold.decision is not None:  # what was there before belongs to somebody else
                await hold.__aexit__(None, canceled, None)
        raise canceled

    def __await__(self) -> Generator[Any, None, AsyncHold]:
        return self._make().__await__()

    async def __aenter__(self) -> AsyncHold:
        return await self._make()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._hold is not None
        await self._hold.__aexit__(kind, error, traceback)


class AsyncReservationMethods:
    """Reservations by their ids: for whoever ends what another process began."""

    def __init__(self, engine: AsyncHeadgate) -> None:
        self._engine = engine

    async def get(self, customer: str, id: str) -> Reservation:
        """Read a reservation; it is known until 24 hours after its end."""
        place = require_id(customer, "customer"), require_id(id, "id")
        return await self._engine._run(reservations.get(self._engine._state, *place))

    async def settle(self, customer: str, id: str, amount: float | Decimal) -> Reservation:
        """Count what was used of a reservation, and give the rest back. Repeating it changes nothing."""
        place = require_id(customer, "customer"), require_id(id, "id"), reservations.used_of(amount)
        return await self._engine._run(reservations.end(self._engine._state, *place, ReservationStatus.SETTLED))

    async def release(self, customer: str, id: str) -> Reservation:
        """Give all of a reservation back. Repeating it changes nothing."""
        place = require_id(customer, "customer"), require_id(id, "id")
        return await self._engine._run(reservations.end(self._engine._state, *place, 0.0, ReservationStatus.RELEASED))

    async def extend(self, customer: str, id: str, expires_in: float | timedelta) -> Reservation:
        """Let an open reservation last for so long (seconds, or a timedelta) from now on."""
        place = require_id(customer, "customer"), require_id(id, "id"), reservations.lasts_of(expires_in)
        return await self._engine._run(reservations.extend(self._engine._state, *place))

    async def list(
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
        return await self._engine._set_up(verb)

    async def sweep(self, *, customers_a_partition: int = 1_000) -> int:
        """Free what has expired, of customers whom nobody calls, too; return how many reservations this call freed."""
        return await self._engine._set_up(sweeping.sweep(self._engine._state, customers_max=customers_a_partition))
