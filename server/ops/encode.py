"""Domain values of operations as messages of `tria.ops.v1`."""

from __future__ import annotations

from typing import Protocol

from server.ops.flag_store import Flag
from server.ops.usage import UsageSlice, UsageSum
from tria.ops.v1 import ops_pb2, ops_service_pb2


class CacheFigures(Protocol):
    """A tenant's figures of the answer cache; latencies are seconds."""

    @property
    def hits(self) -> int: ...
    @property
    def misses(self) -> int: ...
    @property
    def vetoed(self) -> int: ...
    @property
    def entries(self) -> int: ...
    @property
    def saved_micros(self) -> int: ...
    @property
    def currency(self) -> str: ...
    @property
    def hit_latency(self) -> float: ...
    @property
    def miss_latency(self) -> float: ...
    @property
    def fallback(self) -> bool: ...


class Warmed(Protocol):
    """What became of the questions that were to be answered ahead of time."""

    @property
    def warmed(self) -> int: ...
    @property
    def present(self) -> int: ...
    @property
    def vetoed(self) -> int: ...


def cache_message(figures: CacheFigures) -> ops_pb2.CacheStats:
    message = ops_pb2.CacheStats(
        hits=figures.hits,
        misses=figures.misses,
        vetoed=figures.vetoed,
        entries=figures.entries,
        saved_micros=figures.saved_micros,
        currency=figures.currency,
        fallback=figures.fallback,
    )
    message.hit_latency.FromMicroseconds(round(figures.hit_latency * 1e6))
    message.miss_latency.FromMicroseconds(round(figures.miss_latency * 1e6))
    return message


def warmed_bytes(warmed: Warmed) -> bytes:
    return ops_service_pb2.WarmCacheResponse(
        warmed=warmed.warmed, present=warmed.present, vetoed=warmed.vetoed
    ).SerializeToString()


def flag_message(flag: Flag) -> ops_pb2.Flag:
    return ops_pb2.Flag(
        name=f"ops/flags/{flag.id}",
        description=flag.description,
        enabled=flag.enabled,
        percent=flag.percent,
        etag=flag.etag,
    )


def flag_bytes(flag: Flag) -> bytes:
    return flag_message(flag).SerializeToString()


def usage_message(usage: UsageSum) -> ops_pb2.Usage:
    return ops_pb2.Usage(
        runs=usage.runs,
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=usage.cost_micros,
        estimated_micros=usage.estimated_micros,
        saved_micros=usage.saved_micros,
        currency=usage.currency,
        answer_kinds=[ops_pb2.AnswerCount(answer_kind=kind, runs=runs) for kind, runs in usage.kinds.items()],
        slices=map(_slice, usage.slices),
    )


def _slice(cut: UsageSlice) -> ops_pb2.UsageSlice:
    message = ops_pb2.UsageSlice(
        model=cut.model,
        runs=cut.runs,
        input_tokens=cut.input_tokens,
        output_tokens=cut.output_tokens,
        cost_micros=cut.cost_micros,
        saved_micros=cut.saved_micros,
    )
    message.start_time.FromDatetime(cut.start)
    return message
