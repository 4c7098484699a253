"""Methods that nothing serves: of the contract but without a handler yet, and of no contract at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import grpc

from interceptors.policy import UNKNOWN, Method
from server.errors import AppError, Code, Reason

_UNFIT = re.compile(r"[^A-Za-z0-9._/-]")
_PATH_LENGTH = 120


def not_implemented(method: Method) -> AppError:
    """UNIMPLEMENTED, raised after auth and limits: who may not call it does not learn that it is missing."""
    return AppError(
        Code.UNIMPLEMENTED,
        Reason.NOT_IMPLEMENTED,
        "this method is part of the contract but is not served here yet",
        metadata={"method": method.path},
    )


def unknown_method() -> AppError:
    """UNIMPLEMENTED for a name that is in no contract."""
    return AppError(Code.UNIMPLEMENTED, Reason.UNKNOWN_METHOD, "no such method")


def unknown(path: str) -> Method:
    """The method that stands for an unknown name; the name itself, made harmless, is for the audit trail only."""
    return replace(UNKNOWN, path=_UNFIT.sub("?", path)[:_PATH_LENGTH])


def is_stub(function: Any) -> bool:
    """Whether a handler function is the one that protoc generated, which only says "not implemented"."""
    return getattr(function, "__module__", "").endswith("_pb2_grpc")


def handler_function(handler: grpc.RpcMethodHandler[Any, Any]) -> Any:
    """The function of a handler, whichever arity it has."""
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream


def unserved(methods: Iterable[Method], servicers: Mapping[str, object]) -> list[str]:
    """The paths of all methods that no servicer serves, for the start-up log; `servicers` by full service name."""
    missing = []
    for method in methods:
        function = getattr(servicers.get(method.service), method.name, None)
        if function is None or is_stub(function):
            missing.append(method.path)
    return sorted(missing)
