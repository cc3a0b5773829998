"""Serving: worker processes that answer on one port, each with an engine of its own.

The first process listens, starts an embedded server where one is asked for, starts the workers again when one ends,
and passes SIGTERM and SIGINT on; it answers nothing itself. A worker that is told to stop finishes the requests that
are under way. Workers whose parent was killed stop by themselves. What a worker is stands in headgate.cli.worker.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server
from structlog.typing import FilteringBoundLogger

from headgate.cli.sidecar import require_installed, require_sensible
from headgate.client.offline import OfflineHeadgate
from headgate.client.opening import open_target
from headgate.client.sync_client import Headgate
from headgate.client.urls import hide_password
from headgate.errors import InvalidInput, Unavailable
from headgate.service.logs import make_logger, server_logging
from headgate.service.settings import OFFLINE_BY_FALLBACKS, ServeSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where worker processes keep their figures."""
FIRST_LOOK_MS: Final = 5_000
HEADERS_WITHIN_MS: Final = 10_000
EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})
HEADER_BYTES_MAX: Final = 64 * 1024


def serve(settings: ServeSettings, url: str, *, ignored: Sequence[str] = ()) -> None:
    """Serve until a signal comes. Raises `InvalidInput` where nobody would need a key and others could reach it.

    `ignored` names variables that were given and have no effect.
    """
    log = make_logger(settings.log_level)
    if ignored:
        log.info("ignored", variables=list(ignored), meaning="they are the vendor's, and have no effect here")
    settings = require_installed(settings, log)
    _require_ports(settings)
    require_sensible(settings, log)
    with ExitStack() as stack:
        target_url = url
        if settings.offline is None:
            _, embedded = open_target(url)
            if embedded is not None:
                target_url = embedded.url
                stack.callback(embedded.close)  # the workers share the one that this process started
            _look_first(settings, target_url, log)
        else:
            _look_at_document(settings.offline)
        if settings.workers > 1:
            stack.enter_context(_folder_for_figures())
        log.info(
            "serving",
            address=f"http://{_bracketed(settings.host)}:{settings.port}",
            grpc=settings.grpc,
            environment=settings.environment,
            counters="none: offline" if settings.offline else hide_password(url),
            workers=settings.workers,
        )
        _run(settings, target_url)
        log.info("stopped")


def _require_ports(settings: ServeSettings) -> None:
    """Raise `InvalidInput` where one of the two faces could not listen, or both would at one port."""
    require_free(settings.host, settings.port)
    if settings.grpc_address is None:
        return
    host, port = settings.grpc_address
    if port == settings.port and (host == settings.host or {host, settings.host} & EVERYWHERE):
        raise InvalidInput.of("grpc", settings.grpc, f"the REST API has port {port}: give one of them another")
    require_free(host, port, field="grpc")


def _look_at_document(offline: str) -> None:
    """Read the document that is answered from: what is wrong with it is said before anything starts."""
    if offline != OFFLINE_BY_FALLBACKS:
        OfflineHeadgate(Path(offline)).close()


def require_free(host: str, port: int, *, field: str | None = None) -> None:
    """Raise `InvalidInput` where somebody listens there, or nobody can.

    Workers share their port, so the kernel would let another `headgate serve` share it with them: requests would go to
    either, and what the two count apart would be a limit given twice.
    """
    where = f"{_bracketed(host)}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        named, value = ("port", port) if error.errno in (errno.EADDRINUSE, errno.EACCES) else ("host", host)
        if field is not None:
            named, value = field, where
        raise InvalidInput.of(named, value, f"cannot listen on {where}: {error.strerror or error}") from None


def _look_first(settings: ServeSettings, url: str, log: FilteringBoundLogger) -> None:
    """Look whether Redis answers, and whether there is any key, and say or refuse what follows from that."""
    own = settings.of_client().model_copy(update={"listen": False, "setup_deadline_ms": FIRST_LOOK_MS})
    try:
        with Headgate.connect(url, environment=settings.environment, settings=own) as engine:
            keys = engine.api_keys.list()
    except Unavailable as error:
        log.warning("no answer yet", reason=str(error), until_then="REST requests by 503, gRPC reads by fallbacks")
        return
    if settings.api_key is not None:
        return
    if any(key.revoked_at_ms is None for key in keys):
        return
    if not settings.is_private:
        raise InvalidInput.of(
            "host",
            settings.host,
            "there is no API key, so nobody could be told from anybody at this address: make one with "
            "`headgate api-keys create NAME --scope full`, or set HEADGATE_API_KEY, or listen on 127.0.0.1",
        )
    if keys:
        log.warning("every API key is revoked", meaning="nobody is let in until there is another one")
        return
    log.warning(
        "no API key",
        meaning="everybody on this machine is let in, with full scope, until there is one",
        make_one="headgate api-keys create NAME --scope full",
    )


@contextlib.contextmanager
def _folder_for_figures() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="headgate-metrics-")
    os.environ[FOLDER_VARIABLE] = folder
    try:
        yield
    finally:
        del os.environ[FOLDER_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)


def _run(settings: ServeSettings, url: str) -> None:
    server = Server(
        "headgate",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WITHIN_MS, max_buffer_size=HEADER_BYTES_MAX),
        websockets=False,
        log_level=LogLevels("warning" if settings.log_level == "info" else settings.log_level),
        log_dictconfig=server_logging(settings.log_level),
        respawn_failed_workers=True,
        workers_kill_timeout=settings.stop_within_seconds,
    )
    try:
        server.serve(target_loader=partial(load_worker, settings, url, os.getpid()), wrap_loader=False)
    except (OSError, RuntimeError) as error:
        where = f"{_bracketed(settings.host)}:{settings.port}"
        raise InvalidInput.of("port", settings.port, f"cannot listen on {where}: {error}") from None


def load_worker(settings: ServeSettings, url: str, parent: int) -> ASGIApp:
    """Make the application of one worker process. What it is made of is imported there, and not before.

    prometheus_client looks once, when it is imported, whether several processes put their figures together.
    """
    from headgate.cli.worker import make_worker

    return make_worker(settings, url, parent)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
