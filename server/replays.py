"""Telling a caller that its answer is the first one replayed."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_REPLAYED = (("x-idempotent-replay", "true"),)


async def tell_replayed(context: Context) -> None:
    """As a header, which HTTP clients see behind the gateway, and as a trailer, where gRPC clients look."""
    await context.send_initial_metadata(_REPLAYED)
    context.set_trailing_metadata(_REPLAYED)
