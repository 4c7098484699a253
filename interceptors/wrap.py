"""The one file that touches RpcMethodHandler: any of the four arities becomes a chain of coroutines, built once.

Messages are decoded and encoded inside the chain, not by grpc.aio, whose own handling of a broken message or a wrong
response type would send the client the exception's class and text. Every streaming answer is written by a coroutine,
whether the handler is an async generator or uses `context.write`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import grpc
from google.protobuf import message_factory

from interceptors.call import Call, Context, Layer, Metadata, Proceed
from interceptors.errors import answer, code_of
from interceptors.policy import Method
from interceptors.unserved import handler_function


def wrap(method: Method, handler: grpc.RpcMethodHandler[Any, Any], layers: Sequence[Layer]) -> Any:
    """`handler` with the layers around it, the first one outermost."""
    proceed = _innermost(method, handler)
    for layer in reversed(layers):
        proceed = layer.around(method, proceed)
    decode = handler.request_deserializer or bytes
    return _FACTORIES[method.request_streaming, method.response_streaming](_entrance(method, proceed, decode))


def refusing(method: Method, refuse: Callable[[], Exception], layers: Sequence[Layer]) -> Any:
    """A handler for a method that nothing serves: passes the layers, then raises `refuse()`."""

    async def refused(_: Call) -> Any:
        raise refuse()

    proceed: Proceed = refused
    for layer in reversed(layers):
        proceed = layer.around(method, proceed)
    decode = bytes if method.request_type is None else message_factory.GetMessageClass(method.request_type).FromString
    return _FACTORIES[method.request_streaming, method.response_streaming](_entrance(method, proceed, decode))


_FACTORIES: dict[tuple[bool, bool], Callable[[Any], Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class HandlerContext:
    """The context that a handler sees: grpc's own, but decoded, observed, and with trailers that add up."""

    def __init__(self, call: Call, encode: Callable[[Any], bytes]) -> None:
        self._call = call
        self._encode = encode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call.context, name)

    async def read(self) -> Any:
        """The next request, or grpc.aio.EOF."""
        raw = await self._call.context.read()
        return raw if raw is grpc.aio.EOF else self._call.decode(cast("bytes", raw))

    async def write(self, message: Any) -> None:
        """Sends one response."""
        call = self._call
        raw = self._encode(message)
        for hook in call.on_send:
            hook(message)
        await call.context.write(raw)
        call.sent += 1

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Adds to the trailers; grpc's own replaces them, and with them the request id."""
        self._call.trailers.extend(metadata)


class _Requests:
    """The stream of requests that a handler iterates over."""

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> Any:
        message = await self._context.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message


def _entrance(
    method: Method, proceed: Proceed, decode: Callable[[bytes], Any]
) -> Callable[[Any, Context], Coroutine[Any, Any, Any]]:
    streaming = method.request_streaming

    async def enter(request: Any, context: Context) -> Any:
        return await answer(Call(method, context, None if streaming else request, decode), proceed)

    return enter


def _encoder(method: Method, handler: grpc.RpcMethodHandler[Any, Any]) -> Callable[[Any], bytes]:
    """The handler's serializer, after a look at the type: protobuf's own would send any message as if it were right."""
    serialize = handler.response_serializer or bytes
    if method.response_type is None:
        return serialize
    expected = method.response_type.full_name

    def encode(message: Any) -> bytes:
        if message.DESCRIPTOR.full_name != expected:
            raise TypeError(f"{method.path} answered with a {message.DESCRIPTOR.full_name}")
        return serialize(message)

    return encode


def _innermost(method: Method, handler: grpc.RpcMethodHandler[Any, Any]) -> Proceed:
    encode = _encoder(method, handler)
    function = handler_function(handler)
    if not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        raise TypeError(f"the handler of {method.path} is neither a coroutine nor an async generator function")
    streaming = method.request_streaming

    async def unary(call: Call) -> bytes:
        context = HandlerContext(call, encode)
        response = await function(_Requests(context) if streaming else call.message(), context)
        call.code = code_of(call)
        if call.code is not grpc.StatusCode.OK:  # set by hand, as old servicers do; grpc discards the response
            return b""
        raw = encode(response)
        for hook in call.on_send:
            hook(response)
        call.sent += 1
        call.response = response
        return raw

    async def written(call: Call) -> None:
        context = HandlerContext(call, encode)
        await function(_Requests(context) if streaming else call.message(), context)
        call.code = code_of(call)

    async def generated(call: Call) -> None:
        context = HandlerContext(call, encode)
        responses = function(_Requests(context) if streaming else call.message(), context)
        try:
            async for response in responses:
                await context.write(response)
        finally:
            # Now, not when the garbage collector comes: the handler's own cleanup belongs to this call.
            await responses.aclose()
        call.code = code_of(call)

    if not method.response_streaming:
        return unary
    return generated if inspect.isasyncgenfunction(function) else written
