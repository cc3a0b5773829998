"""Headgate for asyncio: every method awaits a verb's calls and returns its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, TypeVar

from headgate.calls import Call, Failed, Reply, Verb
from headgate.chains import DimensionValue
from headgate.client import opening
from headgate.client.async_transport import AsyncRedisTransport
from headgate.client.delivery import AsyncTransport, Dispatcher, Pause
from headgate.client.embedded import EmbeddedServer
from headgate.client.listening import AsyncListener
from headgate.clock import ManualClock, monotonic_ms
from headgate.errors import HeadgateError, Unavailable
from headgate.keys import Keyspace
from headgate.model.catalog import EntityType, Feature
from headgate.model.customer import Customer, PromotionalEntitlement
from headgate.model.decision import Decision, Receipt, UpdateBehavior
from headgate.model.governance import Assignment, AssignmentUpsert, Entity, EntityUpsert
from headgate.model.ids import require_id
from headgate.model.tree import Tree
from headgate.policy import Policy
from headgate.settings import Settings
from headgate.updates import Update
from headgate.verbs import apply, catalog, customers, decide, explain, governance, report, tree
from headgate.verbs.apply import Change
from headgate.verbs.explain import Explanation
from headgate.verbs.governance import EntityBudget
from headgate.verbs.report import UsageRecord

T = TypeVar("T")


class AsyncHeadgate:
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
        self._state = opening.new_state(environment, settings, clock)
        self._dispatcher = Dispatcher(self._state.metrics, clock)
        self._server = server
        self._listener = listener
        self._shared: dict[Call, asyncio.Future[Reply]] = {}
        if listener is not None:
            listener.watch(self._state)
        self.catalog = AsyncCatalogMethods(self)
        self.customers = AsyncCustomerMethods(self)
        self.governance = AsyncGovernanceMethods(self)

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
        listener = AsyncListener(transport.connection, Keyspace(environment, 1).updates)
        return cls(transport, environment=environment, settings=settings, clock=clock, server=server, listener=listener)

    async def check(
        self,
        customer: str,
        *,
        feature: str,
        requested_usage: float | Decimal = 1,
        requested_values: Sequence[str] = (),
        dimensions: Mapping[str, DimensionValue] | None = None,
    ) -> Decision:
        """Say whether the amount would fit every limit in its way now. Nothing is written."""
        question = decide.asked(
            customer, feature, requested_usage, dimensions, amount_field="requested_usage", values=requested_values
        )
        return await self._run(decide.check(self._state, question))

    async def consume(
        self,
        customer: str,
        *,
        feature: str,
        amount: float | Decimal = 1,
        dimensions: Mapping[str, DimensionValue] | None = None,
    ) -> Decision:
        """Count the amount on every constraint if it fits all of them, in one atomic step; else count nothing."""
        question = decide.asked(customer, feature, amount, dimensions, amount_field="amount")
        return await self._run(decide.consume(self._state, question))

    async def report(
        self,
        customer: str,
        *,
        feature: str,
        value: float | Decimal,
        behavior: UpdateBehavior | str = UpdateBehavior.DELTA,
        dimensions: Mapping[str, DimensionValue] | None = None,
        timestamp: datetime | None = None,
    ) -> Receipt:
        """Count usage that has happened, whatever the limits say; a negative value is a correction, SET is absolute."""
        usage = report.usage_of(UsageRecord(customer, feature, value, behavior, dimensions, timestamp))
        return await self._run(report.report(self._state, usage))

    async def report_many(self, records: Sequence[UsageRecord | Mapping[str, Any]]) -> list[Receipt]:
        """Count 1 to 100 records in order. All are validated first; each is atomic, the batch is not."""
        usages = report.usages_of(records)
        return await self._run(report.report_many(self._state, usages), deadlines=opening.BATCH_DEADLINES)

    async def explain(
        self,
        customer: str,
        *,
        feature: str,
        requested_usage: float | Decimal = 1,
        requested_values: Sequence[str] = (),
        dimensions: Mapping[str, DimensionValue] | None = None,
    ) -> Explanation:
        """Check, and say how the request was resolved: what each dimension matched, and which budgets did not apply."""
        question = decide.asked(
            customer, feature, requested_usage, dimensions, amount_field="requested_usage", values=requested_values
        )
        return await self._set_up(explain.explain(self._state, question))

    async def apply(self, policy: Policy, *, dry_run: bool = False) -> list[Change]:
        """Make an environment what a policy says, and return what changed. What it leaves out stays as it is."""
        return await self._set_up(apply.apply(self._state, policy, dry_run=dry_run))

    def updates(self) -> AsyncIterator[Update]:
        """Wait for changes of the configuration, and yield each as it is told; ends when the engine is closed."""
        if self._listener is None:
            raise HeadgateError("this engine has no listener")
        self._listener.start()
        return self._listener.updates()

    @property
    def metrics(self) -> dict[str, int]:
        """Counts of what happened since this engine was made."""
        return dict(self._state.metrics)

    async def close(self) -> None:
        """Stop listening, close every connection, and stop an embedded server that nobody else uses."""
        self._closed = True
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
        if self._listener is not None and self._settings.listen:
            self._listener.start()

    async def _set_up(self, verb: Verb[T]) -> T:
        return await self._drive(verb, monotonic_ms() + self._settings.setup_deadline_ms)

    async def _run(self, verb: Verb[T], *, deadlines: int = 1) -> T:
        if self._state.environment is None:
            self._listen()
            deadlines = opening.COLD_DEADLINES
        return await self._drive(verb, monotonic_ms() + deadlines * self._settings.deadline_ms)

    async def _drive(self, verb: Verb[T], deadline_ms: float) -> T:
        if self._closed:
            raise HeadgateError("this engine is closed: connect another one")
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


class AsyncCatalogMethods:
    """Features and entity types of the environment. A change is done when every partition stands at it."""

    def __init__(self, engine: AsyncHeadgate) -> None:
        self._engine = engine

    async def put_features(self, features: Sequence[Feature | Mapping[str, Any]]) -> list[Feature]:
        """Create or replace features; a feature keeps its type. Makes the environment, if there is none."""
        accepted = catalog.accept_all(Feature, features, "features")
        return await self._engine._set_up(catalog.put_features(self._engine._state, accepted))

    async def features(self) -> dict[str, Feature]:
        """Read all features, by id."""
        return await self._engine._set_up(catalog.features(self._engine._state))

    async def put_entity_types(self, entity_types: Sequence[EntityType | Mapping[str, Any]]) -> list[EntityType]:
        """Create or replace entity types. Makes the environment, if there is none."""
        accepted = catalog.accept_all(EntityType, entity_types, "entity_types")
        return await self._engine._set_up(catalog.put_entity_types(self._engine._state, accepted))

    async def entity_types(self) -> dict[str, EntityType]:
        """Read all entity types, by id."""
        return await self._engine._set_up(catalog.entity_types(self._engine._state))

    async def accept_loss(self) -> None:
        """Write partitions that lost their data again, as empty ones: their customers are "not found" from then on."""
        await self._engine._set_up(catalog.accept_loss(self._engine._state))


class AsyncCustomerMethods:
    """Customers, and what they were given directly."""

    def __init__(self, engine: AsyncHeadgate) -> None:
        self._engine = engine

    async def put(
        self,
        customer: str,
        *,
        name: str | None = None,
        email: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Customer:
        """Create a customer, or change the fields that are given."""
        fields = customers.given(name=name, email=email, metadata=metadata)
        return await self._engine._set_up(customers.put(self._engine._state, require_id(customer, "customer"), fields))

    async def get(self, customer: str) -> Customer:
        """Read a customer; raise `NotFound` if there is none."""
        return await self._engine._set_up(customers.get(self._engine._state, require_id(customer, "customer")))

    async def archive(self, customer: str) -> Customer:
        """Archive a customer: its checks are denied from the next call on. Usage stays."""
        verb = customers.set_archived(self._engine._state, require_id(customer, "customer"), archived=True)
        return await self._engine._set_up(verb)

    async def unarchive(self, customer: str) -> Customer:
        """Bring an archived customer back."""
        verb = customers.set_archived(self._engine._state, require_id(customer, "customer"), archived=False)
        return await self._engine._set_up(verb)

    async def grant_entitlement(
        self, customer: str, entitlement: PromotionalEntitlement | Mapping[str, Any]
    ) -> PromotionalEntitlement:
        """Give a customer access to a feature, or change what was given. There is one for a feature."""
        accepted = PromotionalEntitlement.accept(entitlement, "entitlement")
        verb = customers.grant_entitlement(self._engine._state, require_id(customer, "customer"), accepted)
        return await self._engine._set_up(verb)

    async def revoke_entitlement(self, customer: str, *, feature: str) -> None:
        """Take an entitlement back: checks are denied as Revoked from the next call on. Usage stays."""
        ids = require_id(customer, "customer"), require_id(feature, "feature")
        await self._engine._set_up(customers.revoke_entitlement(self._engine._state, *ids))

    async def entitlements(self, customer: str) -> dict[str, PromotionalEntitlement]:
        """Read what a customer was given directly and still has, by feature."""
        return await self._engine._set_up(customers.entitlements(self._engine._state, require_id(customer, "customer")))


class AsyncGovernanceMethods:
    """Entities of a customer, their budgets, and the hierarchy between them."""

    def __init__(self, engine: AsyncHeadgate) -> None:
        self._engine = engine

    async def put_entities(self, customer: str, entities: Sequence[EntityUpsert | Mapping[str, Any]]) -> list[Entity]:
        """Create 1 to 100 entities, or change what is given of them. Naming an archived one brings it back."""
        accepted = catalog.accept_all(EntityUpsert, entities, "entities")
        verb = governance.put_entities(self._engine._state, require_id(customer, "customer"), accepted)
        return await self._engine._set_up(verb)

    async def put_assignments(
        self, customer: str, assignments: Sequence[AssignmentUpsert | Mapping[str, Any]]
    ) -> list[Assignment]:
        """Create 1 to 100 budgets, or change what is given of them, and move their entities under other parents."""
        accepted = catalog.accept_all(AssignmentUpsert, assignments, "assignments")
        verb = governance.put_assignments(self._engine._state, require_id(customer, "customer"), accepted)
        return await self._engine._set_up(verb)

    async def archive(self, customer: str, ids: Sequence[str]) -> list[Entity]:
        """Archive entities: their own budgets no longer apply, those above them still do."""
        verb = governance.set_archived(
            self._engine._state, require_id(customer, "customer"), governance.require_ids(ids), archived=True
        )
        return await self._engine._set_up(verb)

    async def unarchive(self, customer: str, ids: Sequence[str]) -> list[Entity]:
        """Bring archived entities back."""
        verb = governance.set_archived(
            self._engine._state, require_id(customer, "customer"), governance.require_ids(ids), archived=False
        )
        return await self._engine._set_up(verb)

    async def entities(self, customer: str, *, include_archived: bool = False) -> list[Entity]:
        """Read all entities of a customer, by id."""
        verb = governance.entities(
            self._engine._state, require_id(customer, "customer"), include_archived=include_archived
        )
        return await self._engine._set_up(verb)

    async def assignments(self, customer: str) -> list[EntityBudget]:
        """Read all budgets of a customer, by entity, feature and scope."""
        return await self._engine._set_up(governance.assignments(self._engine._state, require_id(customer, "customer")))

    async def tree(self, customer: str, *, feature: str) -> Tree:
        """Read the customer's entities as a forest, with what every budget for a feature has used."""
        ids = require_id(customer, "customer"), require_id(feature, "feature")
        return await self._engine._set_up(tree.tree(self._engine._state, *ids))
