"""Headgate for asyncio: every method awaits a verb's calls and returns its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, TypeVar

from headgate.calls import Call, Failed, Reply, Verb
from headgate.chains import DimensionValue
from headgate.client import opening
from headgate.client.arguments import optional_id
from headgate.client.async_api_keys import AsyncApiKeyMethods
from headgate.client.async_entitlements import AsyncEntitlementMethods
from headgate.client.async_holds import AsyncReservationMethods, Reserving
from headgate.client.async_namespaces import (
    AsyncCatalogMethods,
    AsyncCreditMethods,
    AsyncCustomerMethods,
    AsyncGovernanceMethods,
    AsyncSubscriptionMethods,
)
from headgate.client.async_transport import AsyncRedisTransport
from headgate.client.delivery import AsyncTransport, Dispatcher, Pause
from headgate.client.embedded import EmbeddedServer
from headgate.client.listening import AsyncListener
from headgate.client.telling import AsyncTeller
from headgate.clock import ManualClock, monotonic_ms
from headgate.errors import HeadgateError, Unavailable
from headgate.keys import Keyspace
from headgate.model.decision import Decision, Receipt, UpdateBehavior
from headgate.policy import Policy
from headgate.settings import Settings
from headgate.updates import Update
from headgate.verbs import apply, decide, explain, report, reservations
from headgate.verbs.apply import Change
from headgate.verbs.explain import Explanation
from headgate.verbs.report import UsageRecord

T = TypeVar("T")


class AsyncHeadgate(AsyncEntitlementMethods):
    """The engine, for asyncio. One instance serves all tasks of an event loop; its methods are awaited.

    Make one with `AsyncHeadgate.connect(url, environment=…)`, and close it, or use it with `async with`.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        *,
        environment: str,
        settings: Settings,
        clock: ManualClock | None = None,
        server: EmbeddedServer | None = None,
        listener: AsyncListener | None = None,
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._closed = False
        self._is_listening = False
        self._state = opening.new_state(environment, settings, clock)
        self._clock = clock
        self._dispatcher = Dispatcher(self._state.metrics, clock)
        self._server = server
        self._listener = listener
        self._teller: AsyncTeller | None = None
        self._shared: dict[Call, asyncio.Future[Reply]] = {}
        if listener is not None:
            listener.watch(self._state, self._now_ms)
        self.catalog = AsyncCatalogMethods(self)
        self.customers = AsyncCustomerMethods(self)
        self.subscriptions = AsyncSubscriptionMethods(self)
        self.credits = AsyncCreditMethods(self)
        self.governance = AsyncGovernanceMethods(self)
        self.reservations = AsyncReservationMethods(self)
        self.api_keys = AsyncApiKeyMethods(self)

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        environment: str = "default",
        settings: Settings | Mapping[str, Any] | None = None,
        clock: ManualClock | None = None,
    ) -> Self:
        """Connect to the Redis that a URL names, or `HEADGATE_URL` where none is given.

        URLs: `redis://`, `rediss://`, `unix://`, `redis+cluster://`, `embedded://` (a private server of this
        process's own) and `embedded:///directory` (one server for all processes that name the directory). The first
        connection is made by the first call. With a `ManualClock` the environment has a simulated clock, for ever.
        """
        settings = opening.accept_options(environment, settings, clock)
        target, server = opening.open_target(url)
        transport = AsyncRedisTransport(
            target,
            clock="given" if clock else "server",
            connections_max=settings.connections_max,
            connect_timeout_ms=settings.deadline_ms,
        )
        keyspace = Keyspace(environment, 1)
        listener = AsyncListener(transport.connection, keyspace.updates, keyspace.usage_updates)
        engine = cls(
            transport, environment=environment, settings=settings, clock=clock, server=server, listener=listener
        )
        if settings.usage_updates_every_ms:
            engine._teller = AsyncTeller(
                engine._state.usage_notes,
                lambda message, deadline_ms: transport.command(
                    "PUBLISH", keyspace.usage_updates, message, deadline_ms=deadline_ms
                ),
                settings.usage_updates_every_ms / 1000,
            )
        return engine

    async def check(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
        requested_values: Sequence[str] = (),
        dimensions: Mapping[str, DimensionValue] | None = None,
    ) -> Decision:
        """Say whether an amount of a feature or a currency would fit every limit in its way now. Nothing is written.

        With a resource, its own account-level counters and wallets decide; entity budgets are the customer's.
        """
        question = decide.asked(
            customer,
            feature,
            requested_usage,
            dimensions,
            amount_field="requested_usage",
            values=requested_values,
            currency=currency,
            resource=resource,
        )
        return await self._run(decide.check(self._state, question))

    async def consume(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        amount: float | Decimal = 1,
        dimensions: Mapping[str, DimensionValue] | None = None,
        idempotency_key: str | None = None,
    ) -> Decision:
        """Count the amount on every constraint if it fits all of them, in one atomic step; else count nothing.

        An amount of a currency, or of a feature that is paid in credits, is taken from the wallet in the same step.
        Under an idempotency key it is granted once: repeating it answers the same, and counts nothing more.
        """
        question = decide.asked(
            customer,
            feature,
            amount,
            dimensions,
            amount_field="amount",
            currency=currency,
            resource=resource,
            key=idempotency_key,
        )
        return await self._run(decide.consume(self._state, question))

    def reserve(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        amount: float | Decimal = 1,
        dimensions: Mapping[str, DimensionValue] | None = None,
        id: str | None = None,
        expires_in: float | timedelta | None = None,
        expires_at: datetime | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Reserving:
        """Hold an amount on every limit in its way, if it fits all of them, until it is settled, released or expires.

        Use it in a `with` block. It expires after `expires_in` (seconds, or a timedelta; 1 hour if it is not given, 24
        at most), or at the instant `expires_at`. An id that is given again is the same reservation, or a `Conflict`
        where the request is another.
        """
        question = decide.asked(
            customer, feature, amount, dimensions, amount_field="amount", currency=currency, resource=resource
        )
        hold = reservations.hold_of(id, expires_in, metadata, expires_at)
        return Reserving(self, lambda: reservations.reserve(self._state, question, hold))

    async def report(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        value: float | Decimal,
        behavior: UpdateBehavior | str = UpdateBehavior.DELTA,
        dimensions: Mapping[str, DimensionValue] | None = None,
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Count usage that has happened, whatever the limits say; a negative value is a correction, SET is absolute.

        What a wallet does not have is overdraft; a correction gives credits back. Credits can't be SET. Under an
        idempotency key it is counted once.
        """
        record = UsageRecord(
            customer, feature, value, behavior, dimensions, timestamp, currency, resource, idempotency_key
        )
        return await self._run(report.report(self._state, report.usage_of(record)))

    async def report_many(self, records: Sequence[UsageRecord | Mapping[str, Any]]) -> list[Receipt]:
        """Count 1 to 100 records in order. All are validated first; each is atomic, the batch is not."""
        usages = report.usages_of(records)
        return await self._run(report.report_many(self._state, usages), deadlines=opening.BATCH_DEADLINES)

    async def explain(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
        requested_values: Sequence[str] = (),
        dimensions: Mapping[str, DimensionValue] | None = None,
    ) -> Explanation:
        """Check, and say how the request was resolved: what each dimension matched, and which budgets did not apply."""
        question = decide.asked(
            customer,
            feature,
            requested_usage,
            dimensions,
            amount_field="requested_usage",
            values=requested_values,
            currency=currency,
            resource=resource,
        )
        return await self._set_up(explain.explain(self._state, question))

    async def apply(self, policy: Policy, *, dry_run: bool = False) -> list[Change]:
        """Make an environment what a policy says, and return what changed. What it leaves out stays as it is."""
        return await self._set_up(apply.apply(self._state, policy, dry_run=dry_run))

    def updates(self, *, customer: str | None = None) -> AsyncIterator[Update]:
        """Wait for what changes, of one customer or of all, and yield each as it is told; ends when this is closed.

        Changes of the configuration are told at once, usage some times a second. Whoever shows something reads it again
        where an update says that some were missed.
        """
        customer = optional_id(customer, "customer")
        if self._listener is None:
            raise HeadgateError("this engine has no listener")
        self._listener.start()
        return self._listener.updates(customer)

    @property
    def environment(self) -> str:
        """The name of the environment that this engine was connected to."""
        return self._state.environment_name

    @property
    def metrics(self) -> dict[str, int]:
        """Counts of what happened since this engine was made, and how many bytes of entitlements are kept now."""
        return opening.metrics_of(self._state)

    async def close(self) -> None:
        """Stop listening, close every connection, and stop an embedded server that nobody else uses."""
        self._closed = True
        if self._teller is not None:
            await self._teller.stop()
        if self._listener is not None:
            await self._listener.stop()
        await self._transport.close()
        if self._server is not None:
            await asyncio.to_thread(self._server.close)

    async def __aenter__(self) -> Self:
        self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _listen(self) -> None:
        self._is_listening = True
        if self._listener is not None and self._settings.listen:
            self._listener.start()

    async def _set_up(self, verb: Verb[T]) -> T:
        return await self._drive(verb, monotonic_ms() + self._settings.setup_deadline_ms)

    def _now_ms(self) -> float:
        """The instant by which answers are kept: of a clock that never steps, or of the simulated one."""
        return monotonic_ms() if self._clock is None else self._clock.now_ms

    async def _run(self, verb: Verb[T], *, deadlines: int = 1) -> T:
        if self._state.environment is None:
            deadlines = opening.COLD_DEADLINES
        return await self._drive(verb, monotonic_ms() + deadlines * self._settings.deadline_ms)

    async def _drive(self, verb: Verb[T], deadline_ms: float) -> T:
        if self._closed:
            raise HeadgateError("this engine is closed: connect another one")
        if not self._is_listening:
            self._listen()
        try:
            step = next(verb)
            while True:
                try:
                    if isinstance(step, Call):
                        reply = await self._deliver(step, deadline_ms)
                    else:
                        reply = await self._batch(step, deadline_ms)
                except HeadgateError as error:
                    step = verb.throw(error)
                else:
                    step = verb.send(reply)
        except StopIteration as stop:
            answer: T = stop.value
            return answer

    async def _batch(self, calls: Sequence[Call], deadline_ms: float) -> list[Reply]:
        async def one(call: Call) -> Reply:
            try:
                return await self._deliver(call, deadline_ms)
            except HeadgateError as error:
                return Failed(error)

        replies: list[Reply] = []
        for first in range(0, len(calls), opening.BATCH_WIDTH):
            replies += await asyncio.gather(*map(one, calls[first : first + opening.BATCH_WIDTH]))
        return replies

    async def _deliver(self, call: Call, deadline_ms: float) -> Reply:
        if not call.shared:
            return await self._deliver_alone(call, deadline_ms)
        delivery = self._shared.get(call)
        if delivery is None:
            delivery = asyncio.ensure_future(self._deliver_alone(call, deadline_ms))
            self._shared[call] = delivery
            delivery.add_done_callback(lambda done: self._delivered(call, done))
            return await asyncio.shield(delivery)
        try:
            async with asyncio.timeout(max(0.0, deadline_ms - monotonic_ms()) / 1000):
                return await asyncio.shield(delivery)
        except TimeoutError:
            raise Unavailable(f"{call.script} had no answer within its deadline") from None
        except HeadgateError:  # another caller's deadline is not this one's
            return await self._deliver_alone(call, deadline_ms)

    def _delivered(self, call: Call, done: asyncio.Future[Reply]) -> None:
        del self._shared[call]
        if not done.cancelled():
            done.exception()  # it may be that nobody waits for it any more

    async def _deliver_alone(self, call: Call, deadline_ms: float) -> Reply:
        delivery = self._dispatcher.deliver(call, deadline_ms)
        try:
            step = next(delivery)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.milliseconds / 1000)
                    step = delivery.send(None)
                    continue
                try:
                    outcome: Reply | Exception = await self._transport.send(step.call, step.deadline_ms)
                except Exception as error:
                    outcome = error
                step = delivery.send(outcome)
        except StopIteration as stop:
            return stop.value
