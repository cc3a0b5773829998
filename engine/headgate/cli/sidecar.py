"""The gRPC face of `headgate serve`: what its settings mean, and its server beside the HTTP application.

grpcio is imported in the processes that serve, and not in the one that starts them: it must not be there when they are
made.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from structlog.typing import FilteringBoundLogger

from headgate.errors import InvalidInput
from headgate.service.settings import ServeSettings
from headgate.sidecar.fallback import Fallback, WithoutData, read_fallbacks

if TYPE_CHECKING:
    from headgate.service.metrics import Metrics
    from headgate.sidecar.engine import SidecarEngine

NEEDED: Final = ("grpc", "grpc_health", "grpc_reflection")
INSTALL: Final = "pip install 'headgate[sidecar]'"

GRACE: Final = 0.9
"""How much of the time to stop calls have. Then they are cancelled, and the process ends before it would be killed."""


def require_installed(settings: ServeSettings, log: FilteringBoundLogger) -> ServeSettings:
    """Turn the gRPC face off where what it needs is not installed; raise `InvalidInput` where it was asked for."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if not missing or settings.grpc_address is None:
        return settings
    if "grpc" in settings.model_fields_set:
        raise InvalidInput.of("grpc", settings.grpc, f"{' and '.join(missing)} are missing: {INSTALL}")
    log.info("gRPC is not served", reason=f"{' and '.join(missing)} are missing", install=INSTALL)
    return settings.model_copy(update={"grpc": "off"})


def require_sensible(settings: ServeSettings, log: FilteringBoundLogger) -> None:
    """Look at what would only be noticed later: fallbacks, the certificate, and who can reach an open door."""
    read_fallbacks(settings.entitlements_fallback)
    _certificate(settings)
    if not settings.grpc_is_private:
        log.warning(
            "gRPC has no credentials",
            address=settings.grpc,
            meaning="whoever reaches this address reads"
            + (" entitlements" if settings.grpc_read_only else " entitlements, and reports usage"),
        )


def fallbacks_of(settings: ServeSettings) -> Mapping[str, Fallback]:
    """The fallbacks by feature."""
    return read_fallbacks(settings.entitlements_fallback)


@contextlib.asynccontextmanager
async def serving_grpc(
    settings: ServeSettings, engine: SidecarEngine, metrics: Metrics, log: FilteringBoundLogger
) -> AsyncIterator[None]:
    """Serve gRPC for as long as the block, where it is wanted; calls under way are finished when it ends."""
    if settings.grpc_address is None:
        yield
        return
    from headgate.sidecar.server import Tls, make_server

    files = _certificate(settings)
    server = make_server(
        engine,
        address=settings.grpc,
        fallbacks=fallbacks_of(settings),
        without_data=WithoutData(settings.without_data),
        read_only=settings.grpc_read_only,
        is_offline=settings.offline is not None,
        tls=None if files is None else Tls(*files),
        metrics=metrics,
        log=log,
    )
    await server.start()
    try:
        yield
    finally:
        await server.stop(settings.stop_within_seconds * GRACE)


def _certificate(settings: ServeSettings) -> tuple[bytes, bytes] | None:
    """Read the certificates and the key; raise `InvalidInput` where they are none, or not of each other.

    gRPC takes any bytes, and only refuses the clients that come.
    """
    certificate, key = settings.grpc_tls_certificate, settings.grpc_tls_key
    if certificate is None or key is None:
        return None
    named: dict[str, Path] = {"grpc_tls_certificate": certificate, "grpc_tls_key": key}
    read: list[Any] = []
    for field, file in named.items():
        try:
            read.append(file.read_bytes())
        except OSError as error:
            raise InvalidInput.of(field, str(file), f"cannot be read: {error.strerror}") from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError):
        rule = f"must be certificates in PEM, the server's first, and {key} the key of that one, without a password"
        raise InvalidInput.of("grpc_tls_certificate", str(certificate), rule) from None
    return read[0], read[1]
