"""Headgate for threads: every method sends a verb's calls and returns its answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, TypeVar

from headgate.calls import Call, Failed, Reply, Verb
from headgate.chains import DimensionValue
from headgate.client import opening
from headgate.client.arguments import optional_id
from headgate.client.delivery import Dispatcher, Pause, Transport
from headgate.client.embedded import EmbeddedServer
from headgate.client.listening import Listener
from headgate.client.sync_api_keys import ApiKeyMethods
from headgate.client.sync_entitlements import EntitlementMethods
from headgate.client.sync_holds import Hold, ReservationMethods
from headgate.client.sync_namespaces import (
    CatalogMethods,
    CreditMethods,
    CustomerMethods,
    GovernanceMethods,
    SubscriptionMethods,
)
from headgate.client.sync_transport import RedisTransport
from headgate.client.telling import Teller
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


class Headgate(EntitlementMethods):
    """The engine, for threads. One instance serves all threads of a process; its methods block until the answer.

    Make one with `Headgate.connect(url, environment=…)`, and close it, or use it as a context manager.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        environment: str,
        settings: Settings,
        clock: ManualClock | None = None,
        server: EmbeddedServer | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._closed = False
        self._state = opening.new_state(environment, settings, clock, threading.Lock())
        self._clock = clock
        self._dispatcher = Dispatcher(self._state.metrics, clock)
        self._server = server
        self._listener = listener
        self._teller: Teller | None = None
        self._pid = os.getpid()
        self._shared: dict[Call, Future[Reply]] = {}
        if listener is not None:
            listener.watch(self._state, self._now_ms)
            if settings.listen:
                listener.start()
        self.catalog = CatalogMethods(self)
        self.customers = CustomerMethods(self)
        self.subscriptions = SubscriptionMethods(self)
        self.credits = CreditMethods(self)
        self.governance = GovernanceMethods(self)
        self.reservations = ReservationMethods(self)
        self.api_keys = ApiKeyMethods(self)

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
        transport = RedisTransport(
            target,
            clock="given" if clock else "server",
            connections_max=settings.connections_max,
            connect_timeout_ms=settings.deadline_ms,
        )
        keyspace = Keyspace(environment, 1)
        listener = Listener(transport.connection, keyspace.updates, keyspace.usage_updates)
        engine = cls(
            transport, environment=environment, settings=settings, clock=clock, server=server, listener=listener
        )
        if settings.usage_updates_every_ms:
            engine._teller = Teller(
                engine._state.usage_notes,
                lambda message, deadline_ms: transport.command(
                    "PUBLISH", keyspace.usage_updates, message, deadline_ms=deadline_ms
                ),
                settings.usage_updates_every_ms / 1000,
            )
        return engine

    def check(
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
        return self._run(decide.check(self._state, question))

    def consume(
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
        return self._run(decide.consume(self._state, question))

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
    ) -> Hold:
        """Hold an amount on every limit in its way, if it fits all of them, until it is settled, released or expires.

        Use it in a `with` block. It expires after `expires_in` (seconds, or a timedelta; 1 hour if it is not given, 24
        at most), or at the instant `expires_at`. An id that is given again is the same reservation, or a `Conflict`
        where the request is another.
        """
        question = decide.asked(
            customer, feature, amount, dimensions, amount_field="amount", currency=currency, resource=resource
        )
        hold = reservations.hold_of(id, expires_in, metadata, expires_at)
        return Hold(self, self._run(reservations.reserve(self._state, question, hold)))

    def report(
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
        return self._run(report.report(self._state, report.usage_of(record)))

    def report_many(self, records: Sequence[UsageRecord | Mapping[str, Any]]) -> list[Receipt]:
        """Count 1 to 100 records in order. All are validated first; each is atomic, the batch is not."""
        usages = report.usages_of(records)
        return self._run(report.report_many(self._state, usages), deadlines=opening.BATCH_DEADLINES)

    def explain(
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
        return self._set_up(explain.explain(self._state, question))

    def apply(self, policy: Policy, *, dry_run: bool = False) -> list[Change]:
        """Make an environment what a policy says, and return what changed. What it leaves out stays as it is."""
        return self._set_up(apply.apply(self._state, policy, dry_run=dry_run))

    def updates(self, *, customer: str | None = None) -> Iterator[Update]:
        """Wait for what changes, of one customer or of all, and yield each as it is told; ends when this is closed.

        Changes of the configuration are told at once, usage some times a second. Whoever shows something reads it again
        where an update says that some were missed.
        """
        customer = optional_id(customer, "customer")
        if self._listener is None:
            raise HeadgateError("this engine has no listener")
        self._listener.start(wait_s=self._settings.setup_deadline_ms / 1000)
        return self._listener.updates(customer)

    @property
    def environment(self) -> str:
        """The name of the environment that this engine was connected to."""
        return self._state.environment_name

    @property
    def metrics(self) -> dict[str, int]:
        """Counts of what happened since this engine was made, and how many bytes of entitlements are kept now."""
        return opening.metrics_of(self._state)

    def close(self) -> None:
        """Stop listening, close every connection, and stop an embedded server that nobody else uses."""
        self._closed = True
        if self._teller is not None:
            self._teller.stop()
        if self._listener is not None:
            self._listener.stop()
        self._transport.close()
        if self._server is not None:
            self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _set_up(self, verb: Verb[T]) -> T:
        return self._drive(verb, monotonic_ms() + self._settings.setup_deadline_ms)

    def _now_ms(self) -> float:
        """The instant by which answers are kept: of a clock that never steps, or of the simulated one."""
        return monotonic_ms() if self._clock is None else self._clock.now_ms

    def _run(self, verb: Verb[T], *, deadlines: int = 1) -> T:
        if self._state.environment is None:
            deadlines = opening.COLD_DEADLINES
        return self._drive(verb, monotonic_ms() + deadlines * self._settings.deadline_ms)

    def _drive(self, verb: Verb[T], deadline_ms: float) -> T:
        if self._closed:
            raise HeadgateError("this engine is closed: connect another one")
        if os.getpid() != self._pid:
            self._begin_anew()
        try:
            step = next(verb)
            while True:
                try:
                    reply = (
                        self._deliver(step, deadline_ms) if isinstance(step, Call) else self._batch(step, deadline_ms)
                    )
                except HeadgateError as error:
                    step = verb.throw(error)
                else:
                    step = verb.send(reply)
        except StopIteration as stop:
            answer: T = stop.value
            return answer

    def _begin_anew(self) -> None:
        """Go on in a forked child: nobody completes what the parent's threads began, or hears for it."""
        self._pid, self._shared = os.getpid(), {}
        lock = threading.Lock()
        self._state.entitlements.begin_anew(lock)
        self._state.usage_notes.begin_anew(lock)
        if self._listener is not None:
            self._listener.begin_anew()
            if self._settings.listen:
                self._listener.start()

    def _batch(self, calls: Sequence[Call], deadline_ms: float) -> list[Reply]:
        replies: list[Reply] = []
        for call in calls:
            try:
                replies.append(self._deliver(call, deadline_ms))
            except HeadgateError as error:
                replies.append(Failed(error))
        return replies

    def _deliver(self, call: Call, deadline_ms: float) -> Reply:
        if not call.shared:
            return self._deliver_alone(call, deadline_ms)
        mine: Future[Reply] = Future()
        delivery = self._shared.setdefault(call, mine)
        if delivery is mine:
            return self._lead(call, deadline_ms, mine)
        try:
            return delivery.result(timeout=max(0.0, deadline_ms - monotonic_ms()) / 1000)
        except TimeoutError:
            raise Unavailable(f"{call.script} had no answer within its deadline") from None
        except HeadgateError:  # another caller's deadline is not this one's
            return self._deliver_alone(call, deadline_ms)

    def _lead(self, call: Call, deadline_ms: float, delivery: Future[Reply]) -> Reply:
        try:
            reply = self._deliver_alone(call, deadline_ms)
        except BaseException as error:
            self._shared.pop(call, None)
            ours = error if isinstance(error, HeadgateError) else Unavailable(f"{call.script} was interrupted")
            delivery.set_exception(ours)
            raise
        self._shared.pop(call, None)
        delivery.set_result(reply)
        return reply

    def _deliver_alone(self, call: Call, deadline_ms: float) -> Reply:
        delivery = self._dispatcher.deliver(call, deadline_ms)
        try:
            step = next(delivery)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.milliseconds / 1000)
                    step = delivery.send(None)
                    continue
                try:
                    outcome: Reply | Exception = self._transport.send(step.call, step.deadline_ms)
                except Exception as error:
                    outcome = error
                step = delivery.send(outcome)
        except StopIteration as stop:
            return stop.value
