"""The server around the service: health, reflection, TLS, limits, and that every error has a status."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any, Final

import grpc
import grpc.aio
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from behaviour.readings import found_full_shop
from behaviour.targets import WAIT_S
from behaviour.world import ACME, SSO
from headgate import HeadgateError, InvalidInput
from headgate.sidecar import problems
from headgate.sidecar.calls import SERVICE
from headgate.sidecar.protocol import sidecar_pb2 as wire
from headgate.sidecar.server import MESSAGE_BYTES_MAX, Tls, make_server
from sidecar.conftest import Opening, Sidecar
from sidecar.reflected import ask, reflect

BOOLEAN: Final = wire.GetBooleanEntitlementRequest(customer_id=ACME, feature_id=SSO)
ALL_CALLS: Final = {
    *("GetEntitlements", "GetEntitlement", "GetBooleanEntitlement", "GetNumericEntitlement", "GetMeteredEntitlement"),
    *("GetEnumEntitlement", "ReportUsage", "ReportEvents", "ReloadEntitlements", "ReportUsageBulk", "GetEntitlementV2"),
    "GetEntitlementsStateV2",
}


def all_errors(kind: type[HeadgateError] = HeadgateError) -> Iterator[type[HeadgateError]]:
    for each in kind.__subclasses__():
        yield each
        yield from all_errors(each)


def test_every_error_has_a_status_of_its_own_or_that_of_its_cause() -> None:
    without = {each for each in all_errors() if not any(kind in problems.STATUSES for kind in each.__mro__)}
    assert {each.__name__ for each in without if each.__module__ == "headgate.errors"} == {"BatchIncomplete"}


def test_the_api_has_the_numbers_of_the_published_one() -> None:
    assert {method.name for method in SERVICE.methods} == ALL_CALLS
    assert SERVICE.full_name == "stigg.sidecar.v1.SidecarService"
    numbers = {
        "MeteredEntitlement": [4, 5, 6, 7, 9, 10, 11, 12, 13, 14],
        "GetMeteredEntitlementResponse": [1, 2, 3, 4, 5],
        "GetBooleanEntitlementResponse": [1, 2, 3, 4],
        "EntitlementV2": [1, 2, 3, 4, 5, 6, 7, 8],
        "ReportUsageRequest": [1, 2, 3, 4, 5, 6, 7],
        "MeteredEntitlementOptions": [1, 2],
        "EnumEntitlementOptions": [1, 2],
    }
    for name, expected in numbers.items():
        assert sorted(field.number for field in getattr(wire, name).DESCRIPTOR.fields) == expected


async def test_health_is_told_for_the_server_and_the_service_and_its_end_before_it_ends(sidecar: Sidecar) -> None:
    health: Any = health_pb2_grpc.HealthStub(sidecar.channel)
    for name in ("", SERVICE.full_name):
        found = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert found.status == health_pb2.HealthCheckResponse.SERVING
    watched = health.Watch(health_pb2.HealthCheckRequest())
    async with asyncio.timeout(WAIT_S):
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING
        ending = asyncio.ensure_future(sidecar.server.stop(3_600))
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await ending  # a watch does not hold it up, whatever the grace


async def test_a_client_that_knows_nothing_learns_all_calls_by_reflection(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    services = await ask(sidecar.channel, list_services="")
    assert {each.name for each in services.list_services_response.service} == {
        SERVICE.full_name,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    client = await reflect(sidecar.channel)
    assert client.methods.keys() == ALL_CALLS
    for name, method in client.methods.items():
        wanted = {"customer_id": ACME, "feature_id": SSO}
        fields = {field.name for field in method.input_type.fields}
        request = client.message(method.input_type.name, **{k: v for k, v in wanted.items() if k in fields})
        if name.startswith("Report"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.call(name, request)
            assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)
        else:
            assert (await client.call(name, request)).DESCRIPTOR.name == method.output_type.name


async def test_it_is_served_over_tls_by_a_certificate(opening: Opening) -> None:
    await found_full_shop(opening.target.engine)
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    tls = Tls(chain, issued.private_key_pem.bytes())
    trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    sidecar = await opening(credentials=trusted, tls=tls)
    assert (await sidecar.stub.GetBooleanEntitlement(BOOLEAN)).has_access
    with pytest.raises(InvalidInput, match="grpc"):
        make_server(sidecar.engine, address="127.0.0.1:0", tls=Tls(b"no", b"certificate"))


async def test_a_message_that_is_too_long_is_refused(sidecar: Sidecar) -> None:
    request = wire.ReportUsageRequest(customer_id="c" * (MESSAGE_BYTES_MAX + 1))
    status, _, _ = await sidecar.refused("ReportUsage", request)
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_address_at_which_nobody_can_listen_is_an_error_that_names_it(opening: Opening) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidInput, match=address):
            make_server(opening.target.engine, address=address)


async def test_a_caller_that_gives_up_leaves_nothing_behind(opening: Opening) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    class Slow:
        async def boolean_entitlement(self, *args: Any, **named: Any) -> Any:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    sidecar = await opening(engine=Slow())
    call = sidecar.stub.GetBooleanEntitlement(BOOLEAN)
    async with asyncio.timeout(WAIT_S):
        waiting = asyncio.ensure_future(call.code())
        await began.wait()
        call.cancel()
        assert await waiting is grpc.StatusCode.CANCELLED
        await ended.wait()
