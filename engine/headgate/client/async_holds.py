"""Holds for asyncio: what `engine.reserve` gives, and `engine.reservations`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator
from datetime import timedelta
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from headgate.calls import Verb
from headgate.client.arguments import optional_id
from headgate.client.held import Held
from headgate.errors import Conflict, HeadgateError, NotFound
from headgate.model.ids import require_id
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.verbs import ledgers, reservations, sweeping
from headgate.verbs.reservations import Made

T = TypeVar("T")

if TYPE_CHECKING:
    from headgate.client.async_client import AsyncHeadgate


class AsyncHold(Held):
    """An amount that is held for you. Settle it with what you used; leaving the `async with` block gives the rest back.

    Leaving without having settled releases all of it, also by an exception; what was counted with `count` is settled
    instead. It is true if it was granted.
    """

    def __init__(self, engine: AsyncHeadgate, made: Made) -> None:
        super().__init__(made)
        self._engine = engine

    async def settle(self, amount: float | Decimal) -> Reservation:
        """Count what was used, and give the rest back. Repeating it changes nothing."""
        return await self._end(reservations.used_of(amount), ReservationStatus.SETTLED)

    async def release(self) -> Reservation:
        """Give all of it back: nothing was used."""
        return await self._end(0.0, ReservationStatus.RELEASED)

    async def extend(self, expires_in: float | timedelta | None = None) -> Reservation:
        """Let it last for so long (seconds, or a timedelta; as long as at first, if it is not given) from now on."""
        place = self.reservation.customer, self.id, self._lasts(expires_in)
        self.reservation = await self._engine._run(reservations.extend(self._engine._state, *place))
        return self.reservation

    async def _end(self, amount: float, outcome: ReservationStatus) -> Reservation:
        self._require_made()
        self._asked = self._asked or (amount, outcome)
        place = self.reservation.customer, self.id, self._details, amount, outcome
        try:
            self.reservation = await self._engine._run(reservations.end_known(self._engine._state, *place))
        except (Conflict, NotFound):
            self._has_ended = True
            raise
        self._has_ended = True
        return self.reservation

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leaving = self._leaving()
        if leaving is None:
            return
        ending, canceled = await _carried_through(lambda: self._end(*leaving))
        # The error that is on its way says more than this one would; what stays held then goes when it expires.
        is_quiet = error is not None or canceled is not None
        with contextlib.suppress(HeadgateError, asyncio.CancelledError) if is_quiet else contextlib.nullcontext():
            ending.result()
        if canceled is not None:
            raise canceled


async def _carried_through(
    work: Callable[[], Coroutine[Any, Any, T]],
) -> tuple[asyncio.Task[T], asyncio.CancelledError | None]:
    """Do what may be repeated until it is done, which its deadline bounds, and return the cancellation that came.

    A caller who is canceled while a hold is made or ended would not know what became of it. Where every task of the
    loop is canceled, as at its end, the work is begun once more: a task that is made then is left alone.
    """
    task, canceled = asyncio.ensure_future(work()), None
    for _ in range(2):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                canceled = error
        if not task.cancelled():
            break
        canceled = canceled or asyncio.CancelledError()
        task = asyncio.ensure_future(work())
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            canceled = error
    return task, canceled


class Reserving:
    """A reservation that is being made: `await` it, or use it with `async with`; either gives an `AsyncHold`."""

    def __init__(self, engine: AsyncHeadgate, make: Callable[[], Verb[Made]]) -> None:
        self._engine = engine
        self._make_verb = make
        self._making: asyncio.Task[AsyncHold] | None = None

    async def _make(self) -> AsyncHold:
        if self._making is not None:
            return await asyncio.shield(self._making)
        making, canceled = await _carried_through(self._made)
        if canceled is None:
            self._making = making
            return making.result()
        with contextlib.suppress(HeadgateError, asyncio.CancelledError):
            await making.result().__aexit__(None, canceled, None)
        raise canceled

    async def _made(self) -> AsyncHold:
        return AsyncHold(self._engine, await self._engine._run(self._make_verb()))

    def __await__(self) -> Generator[Any, None, AsyncHold]:
        return self._make().__await__()

    async def __aenter__(self) -> AsyncHold:
        return await self._make()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._making is not None
        await self._making.result().__aexit__(kind, error, traceback)


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
