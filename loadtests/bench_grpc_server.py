"""The server of the gRPC bench: the sidecar's service, and beside it, on the same server, a handler that does nothing.

`python bench_grpc_server.py URL ENVIRONMENT` prints its port, and serves until its standard input ends. It runs on
uvloop where that is installed, as `headgate serve` does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Any, Final

import grpc

from headgate import AsyncHeadgate, Settings
from headgate.sidecar.server import make_server

EMPTY: Final = "/bench.Bench/Empty"
SETTINGS: Final = Settings(deadline_ms=30_000, setup_deadline_ms=60_000, cache_max_bytes=64 << 20)


def empty_handler() -> grpc.GenericRpcHandler:
    """What a call costs that does nothing: it takes bytes, and gives none back."""

    async def answer(request: bytes, context: object) -> bytes:
        return b""

    service, method = EMPTY.strip("/").split("/")
    return grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(answer)})


async def serve(url: str, environment: str) -> None:
    """Serve until the standard input ends."""
    async with AsyncHeadgate.connect(url, environment=environment, settings=SETTINGS) as engine:
        server = make_server(engine, address="127.0.0.1:0")
        server._server.add_generic_rpc_handlers((empty_handler(),))
        await server.start()
        await engine.catalog.features()
        listener: Any = engine._listener
        await asyncio.wait_for(listener.subscribed.wait(), 30)
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await server.stop(1)


def _runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    if find_spec("uvloop") is None:
        return asyncio.run
    import uvloop

    return uvloop.run


if __name__ == "__main__":
    _runner()(serve(sys.argv[1], sys.argv[2]))
