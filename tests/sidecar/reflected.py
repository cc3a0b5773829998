"""A client that knows nothing beforehand: it learns calls and messages from the server, by reflection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

SERVICE = "stigg.sidecar.v1.SidecarService"


class Reflected:
    """The calls of the service as methods, and its messages by their names."""

    def __init__(self, channel: grpc.aio.Channel, pool: descriptor_pool.DescriptorPool) -> None:
        self._channel, self._pool = channel, pool
        self.methods: Mapping[str, Any] = {each.name: each for each in pool.FindServiceByName(SERVICE).methods}

    def message(self, name: str, **fields: Any) -> Any:
        """Make a message of the API."""
        kind = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"stigg.sidecar.v1.{name}"))
        return kind(**fields)

    async def call(self, name: str, request: Any) -> Any:
        """Call a method of the service."""
        method = self.methods[name]
        assert request.DESCRIPTOR.full_name == method.input_type.full_name
        call = self._channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        return await call(request)


async def ask(channel: grpc.aio.Channel, **asked: str) -> Any:
    """What the server says of itself."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(**asked))
    await call.done_writing()
    return await call.read()


async def reflect(channel: grpc.aio.Channel) -> Reflected:
    """Learn what the server serves."""
    pool, known = descriptor_pool.DescriptorPool(), set()

    async def learn(**asked: str) -> None:
        told = await ask(channel, **asked)
        for each in told.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(each)
            if file.name not in known:
                known.add(file.name)
                for name in file.dependency:
                    await learn(file_by_filename=name)
                pool.AddSerializedFile(each)

    await learn(file_containing_symbol=SERVICE)
    return Reflected(channel, pool)
