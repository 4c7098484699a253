"""OpsService on the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import grpc

from server.audit.actor import Shown
from server.audit.changes import Author
from server.caller import current_caller, current_request
from server.db.pool import Database
from server.errors import AppError, Code, FieldViolation, Reason
from server.health import HealthMonitor, Status
from server.idempotency import Idempotency, Once
from server.moments import moment
from server.ops import encode
from server.ops.flag_store import Flag
from server.ops.flags import Flags
from server.ops.usage import Granularity, usage_of
from server.paging import PageTokens, page_size
from tria.ops.v1 import ops_pb2, ops_service_pb2, ops_service_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_CUTS = {
    ops_service_pb2.GetUsageRequest.HOUR: Granularity.HOUR,
    ops_service_pb2.GetUsageRequest.DAY: Granularity.DAY,
}
_CHANGEABLE = ("enabled", "percent", "description")


class CacheFigures(Protocol):
    """Where the figures of the answer cache come from."""

    async def of(self, tenant: str) -> encode.CacheFigures: ...


class Warming(Protocol):
    """What answers ahead of time."""

    async def warm(
        self, author: Author, questions: Sequence[str], request_id: str, encoded: Callable[[encode.Warmed], bytes]
    ) -> Once: ...


@dataclass(frozen=True, slots=True)
class OpsDesk:
    """What operators look at and turn."""

    database: Database
    flags: Flags
    figures: CacheFigures
    warming: Warming


class OpsHandler(ops_service_pb2_grpc.OpsServiceServicer):
    """What operators look at and turn."""

    def __init__(self, monitor: HealthMonitor, version: str, desk: OpsDesk, tokens: PageTokens, shown: Shown) -> None:
        self._monitor = monitor
        self._version = version
        self._desk = desk
        self._tokens = tokens
        self._shown = shown

    async def CheckHealth(self, request: ops_service_pb2.CheckHealthRequest, context: Context) -> ops_pb2.Health:
        health = self._monitor.health
        if health.status is Status.NOT_SERVING:
            raise AppError(
                Code.UNAVAILABLE,
                Reason.STORE_UNAVAILABLE if health.away else Reason.SERVER_BUSY,
                "not serving" if health.away else "not serving: starting or stopping",
                metadata={"away": " ".join(sorted(health.away))},
                retry_after=1.0,
            )
        return ops_pb2.Health(
            status=ops_pb2.Health.SERVING,
            degraded=health.status is Status.DEGRADED,
            components=[
                ops_pb2.ComponentHealth(
                    component=part,
                    status=ops_pb2.Health.NOT_SERVING if part in health.away else ops_pb2.Health.SERVING,
                    effect=health.away.get(part, ""),
                )
                for part in health.parts
            ],
            version=self._version,
        )

    async def GetCacheStats(
        self, request: ops_service_pb2.GetCacheStatsRequest, context: Context
    ) -> ops_pb2.CacheStats:
        """The tenant's figures of the answer cache."""
        return encode.cache_message(await self._desk.figures.of(current_caller.get().tenant))

    async def WarmCache(
        self, request: ops_service_pb2.WarmCacheRequest, context: Context
    ) -> ops_service_pb2.WarmCacheResponse:
        """Questions answered ahead of time."""
        warmed = await self._desk.warming.warm(
            self._author(), list(request.questions), request.request_id, encode.warmed_bytes
        )
        _mark(context, warmed)
        return ops_service_pb2.WarmCacheResponse.FromString(warmed.answer)

    async def GetUsage(self, request: ops_service_pb2.GetUsageRequest, context: Context) -> ops_pb2.Usage:
        """What the tenant's runs cost."""
        start = moment(request.start_time, "start_time") if request.HasField("start_time") else None
        end = moment(request.end_time, "end_time") if request.HasField("end_time") else None
        cut = _CUTS.get(request.granularity)
        return encode.usage_message(await usage_of(self._desk.database, current_caller.get().tenant, start, end, cut))

    async def ListFlags(
        self, request: ops_service_pb2.ListFlagsRequest, context: Context
    ) -> ops_service_pb2.ListFlagsResponse:
        """The tenant's flags by name, a page at a time."""
        tenant = current_caller.get().tenant
        query = f"ListFlags\n{tenant}"
        page = self._tokens.read(query, request.page_token, page_size(request.page_size))
        after = page.after[0] if page.after else ""
        found = [flag for flag in await self._desk.flags.list(tenant) if flag.id > after]
        shown = found[: page.size]
        token = self._tokens.make(query, (shown[-1].id,)) if len(found) > len(shown) else ""
        return ops_service_pb2.ListFlagsResponse(flags=map(encode.flag_message, shown), next_page_token=token)

    async def UpdateFlag(self, request: ops_service_pb2.UpdateFlagRequest, context: Context) -> ops_pb2.Flag:
        """A flag changed."""
        fields = list(request.update_mask.paths) or list(_CHANGEABLE)
        if unknown := [field for field in fields if field not in _CHANGEABLE]:
            wrong = [FieldViolation(f"update_mask.{field}", "cannot be changed") for field in unknown]
            raise AppError(Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, "the mask is wrong", violations=wrong)
        wanted = Flag(
            request.flag.name.removeprefix("ops/flags/"),
            request.flag.description,
            request.flag.enabled,
            request.flag.percent,
        )
        body = request.flag.SerializeToString(deterministic=True) + ",".join(sorted(fields)).encode()
        key = Idempotency("UpdateFlag", request.request_id, body, encode.flag_bytes)
        changed = await self._desk.flags.update(self._author(), wanted, fields, request.flag.etag, key)
        _mark(context, changed)
        return ops_pb2.Flag.FromString(changed.answer)

    def _author(self) -> Author:
        return Author(current_caller.get(), current_request.get(), self._shown)


def _mark(context: Context, done: Once) -> None:
    if done.replayed:
        context.set_trailing_metadata((("x-idempotent-replay", "true"),))
