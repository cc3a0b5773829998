"""One worker process of `headgate serve`: the application, its engine, and what goes on beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from structlog.typing import FilteringBoundLogger

from headgate.cli.offline_app import make_offline_app
from headgate.cli.sidecar import serving_grpc
from headgate.client.async_client import AsyncHeadgate
from headgate.client.offline import AsyncOfflineHeadgate
from headgate.errors import EnvironmentNotReady, HeadgateError
from headgate.rest.app import create_app, put_together
from headgate.service.logs import make_logger
from headgate.service.metrics import Metrics, forget_dead_processes
from headgate.service.settings import OFFLINE_BY_FALLBACKS, ServeSettings

FIGURES_EVERY_S: Final = 1.0
"""How old figures of the engine may be that another process shows."""
PARENT_LOOK_EVERY_S: Final = 1.0


def make_worker(settings: ServeSettings, url: str, parent: int) -> FastAPI:
    """Make the application of one worker process, with all that goes on beside its requests."""
    log = make_logger(settings.log_level)
    forget_dead_processes()  # this one may stand in for one of them
    if settings.offline is not None:
        return _make_offline_worker(settings, settings.offline, parent, log)
    engine = AsyncHeadgate.connect(url, environment=settings.environment, settings=settings.of_client())
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        put_together(app)
        async with engine:
            await app.state.doorkeeper.look_first()
            if not app.state.doorkeeper.knows_keys:
                metrics.started_without_redis()
            sweep_every_s = settings.sweep_every_seconds * settings.workers  # together they sweep as often as told
            beside = (
                sweep_for_ever(engine, sweep_every_s, log),
                _take_figures(engine, metrics),
                _stop_without(parent),
            )
            async with serving_grpc(settings, engine, metrics, log):
                with _beside(*beside):
                    log.info("worker ready", process=os.getpid())
                    yield
            metrics.take(engine.metrics)
        log.info("worker stopped", process=os.getpid())

    return create_app(
        engine,
        api_key=settings.api_key,
        open_without_keys=settings.is_private,
        deadline_ms=settings.deadline_ms,
        metrics=metrics,
        log=log,
        lifespan=lifespan,
    )


def _make_offline_worker(settings: ServeSettings, offline: str, parent: int, log: FilteringBoundLogger) -> FastAPI:
    """Make the application of a worker that contacts no Redis."""
    document = None if offline == OFFLINE_BY_FALLBACKS else Path(offline)
    engine = AsyncOfflineHeadgate(document)
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with engine, serving_grpc(settings, engine, metrics, log):
            with _beside(_stop_without(parent)):
                log.info("worker ready", process=os.getpid(), offline=offline)
                yield
        log.info("worker stopped", process=os.getpid())

    return make_offline_app(metrics, lifespan)


@contextlib.contextmanager
def _beside(*work: Coroutine[Any, Any, None]) -> Iterator[None]:
    tasks = [asyncio.get_running_loop().create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def sweep_for_ever(engine: AsyncHeadgate, every_s: float, log: FilteringBoundLogger) -> None:
    """Free what has expired, of customers whom nobody calls, too; not at the same instant as the others do."""
    pause_s = random.uniform(0, every_s)
    while True:
        await asyncio.sleep(pause_s)
        pause_s = every_s
        try:
            freed = await engine.reservations.sweep()
        except EnvironmentNotReady:
            continue
        except HeadgateError as error:
            log.warning("sweep failed", code=error.code, reason=str(error))
        else:
            if freed:
                log.info("swept", freed=freed)


async def _take_figures(engine: AsyncHeadgate, metrics: Metrics) -> None:
    while True:
        await asyncio.sleep(FIGURES_EVERY_S)
        metrics.take(engine.metrics)


async def _stop_without(parent: int) -> None:
    """Stop this worker, as a signal would, once its parent is gone."""
    while True:
        await asyncio.sleep(PARENT_LOOK_EVERY_S)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
            return
