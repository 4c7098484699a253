"""A service of all four arities, made from descriptors alone, whose requests say how the call shall go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from server.errors import AppError, Code, Reason, not_found
from tria.policy.v1 import audit_action_pb2, policy_pb2

SECRET_TEXT = "hunter2-must-not-leak"
ARITIES = ("Unary", "ServerStream", "ClientStream", "Bidi")
DEFAULT_DEADLINE = 0.3  # seconds, of the service Timed

_PACKAGE = "tria.probe.v1"


def _string(message: descriptor_pb2.DescriptorProto, name: str, number: int, **more: Any) -> Any:
    field = message.field.add(name=name, number=number, **more)
    field.type = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    field.label = more.get("label", descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
    return field


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="tria/probe/v1/probe.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.extend(["buf/validate/validate.proto", "tria/policy/v1/policy.proto"])
    ask = file.message_type.add(name="Ask")
    name = _string(ask, "name", 1)
    name.options.Extensions[validate_pb2.field].string.max_len = 40
    text = _string(ask, "text", 2)
    text.options.Extensions[policy_pb2.field].pii = policy_pb2.FieldPolicy.FREE_TEXT
    items = _string(ask, "items", 3, label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED)
    items.options.Extensions[validate_pb2.field].repeated.max_items = 5
    _string(file.message_type.add(name="Reply"), "name", 1)
    _service(file.service.add(name="Probe"), per_minute=60)
    _service(file.service.add(name="Timed"), per_minute=60, deadline=DEFAULT_DEADLINE)
    _service(file.service.add(name="Bench"), per_minute=60_000_000, deadline=10.0)
    return file


def _service(service: descriptor_pb2.ServiceDescriptorProto, *, per_minute: int, deadline: float = 0.0) -> None:
    for arity in ARITIES:
        method = service.method.add(name=arity, input_type=f".{_PACKAGE}.Ask", output_type=f".{_PACKAGE}.Reply")
        method.client_streaming = arity in {"ClientStream", "Bidi"}
        method.server_streaming = arity in {"ServerStream", "Bidi"}
        policy = method.options.Extensions[policy_pb2.rpc]
        policy.permission = policy_pb2.ORDER_DECIDE
        policy.audit = audit_action_pb2.ORDER_ACCEPT
        policy.mutates = True
        policy.max_rate.per_minute = per_minute
        policy.max_rate.burst = per_minute // 3
        if deadline:
            policy.default_deadline.FromMilliseconds(round(deadline * 1000))


def _load() -> Any:
    pool = descriptor_pool.Default()
    pool.Add(_file())
    return pool.FindFileByName("tria/probe/v1/probe.proto")


_FILE = _load()
SERVICES: list[ServiceDescriptor] = list(_FILE.services_by_name.values())
Ask: Any = message_factory.GetMessageClass(_FILE.message_types_by_name["Ask"])
Reply: Any = message_factory.GetMessageClass(_FILE.message_types_by_name["Reply"])


def path(arity: str, service: str = "Probe") -> str:
    return f"/{_PACKAGE}.{service}/{arity}"


class Handlers:
    """What the requests ask for: `ok`, `refuse`, `limit`, `crash`, `hang`, `late crash` (after the first message)."""

    def __init__(self) -> None:
        self.hanging = asyncio.Event()
        self.seen: list[str] = []

    async def _go(self, text: str) -> Message:
        self.seen.append(text)
        match text:
            case "refuse":
                raise not_found("orders/none")
            case "limit":
                raise AppError(
                    Code.RESOURCE_EXHAUSTED, Reason.BUDGET_EXCEEDED, "spent", retry_after=1.5, quota="budget"
                )
            case "crash":
                raise ValueError(SECRET_TEXT)
            case "wrong type":
                wrong: Message = Ask(text=SECRET_TEXT)
                return wrong
            case "hang":
                self.hanging.set()
                await asyncio.Event().wait()
        reply: Message = Reply(name="orders/made")
        return reply

    async def unary(self, request: Any, _: Any) -> Message:
        return await self._go(request.text)

    async def server_stream(self, request: Any, _: Any) -> AsyncIterator[Message]:
        first = await self._go(request.text)
        yield first
        if request.text == "late crash":
            raise ValueError(SECRET_TEXT)
        yield first

    async def client_stream(self, requests: Any, _: Any) -> Message:
        reply: Message = Reply()
        async for request in requests:
            reply = await self._go(request.text)
        return reply

    async def bidi(self, _: Any, context: Any) -> None:
        """In the read()/write() style, so that both styles are seen."""
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(await self._go(request.text))
            if request.text == "late crash":
                raise ValueError(SECRET_TEXT)

    def generic_handlers(self) -> list[grpc.GenericRpcHandler]:
        # What a wrong response type does depends on the serializer: the generated ones are `Message.SerializeToString`.
        encode, decode = Reply.SerializeToString, Ask.FromString
        methods = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary, decode, encode),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream, decode, encode),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream, decode, encode),
            "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi, decode, encode),
        }
        return [
            grpc.method_handlers_generic_handler(f"{_PACKAGE}.{service}", methods)
            for service in ("Probe", "Timed", "Bench")
        ]
