"""The runs of one process with all they need: logs, the shared log, leases, followers."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import redis.asyncio

from server.audit.recorder import AuditRecorder
from server.audit.sealing import Vault
from server.chat import encode
from server.chat.assistant import Assistant, Tools
from server.chat.cluster_reader import ClusterReader
from server.chat.following import Following
from server.chat.keeping import Keeping
from server.chat.mirrors import Mirrors
from server.chat.relay import SharedTick
from server.chat.runlog import RunLogs
from server.chat.runner import Runner, RunnerSettings
from server.chat.shared_log import LogReader, SharedLog
from server.chat.sharing import Sharing
from server.chat.task import Task
from server.chat.tickets import Tickets
from server.config import StreamConfig
from server.db.pool import Database
from server.order.proposals import Proposals
from server.redis_client import open_redis
from server.stream_life import StreamLimits

_WAIT = 5.0  # seconds that the reader waits for news in one go
_FLUSH = 2.0  # seconds for the last events to reach the shared log


@dataclass(frozen=True, slots=True)
class RunDesk:
    """The runs of this process, and the following of any run."""

    runner: Runner
    following: Following
    logs: RunLogs
    sharing: Sharing
    mirrors: Mirrors
    keeping: Keeping
    tickets: Tickets

    def background(self, dsn: str) -> list[Coroutine[None, None, None]]:
        """What has to go on as long as the process serves."""
        return [
            self.keeping.keep_leases(),
            self.keeping.keep_company(),
            self.keeping.listening(dsn).keep_listening(),
            self.sharing.keep_writing(),
            self.mirrors.keep_reading(),
            self.mirrors.keep_looking(),
        ]

    async def drain(self, patience: float) -> None:
        """Runs finish or are given away, and what they said reaches the shared log."""
        await self.runner.finish(patience)
        await self.runner.give_away(partial(self.sharing.flushed, _FLUSH))
        await self.sharing.flushed(_FLUSH)

    async def drain_the_rest(self, patience: float) -> None:
        """The same when no call comes any more: what was just being stored is drained too."""
        await self.runner.stored()
        await self.drain(patience)


@dataclass(frozen=True, slots=True)
class RunParts:
    """What runs stand on."""

    database: Database
    vault: Vault
    recorder: AuditRecorder
    redis_url: str
    proposals: Proposals
    assistant: Assistant
    tools: Callable[[Task, Callable[[], None]], Tools]
    redis_cluster: bool = False


@asynccontextmanager
async def run_desk(parts: RunParts, stream: StreamConfig) -> AsyncIterator[RunDesk]:
    """Two connections to Redis of its own: the one that waits for news must not be waited for by anybody else."""
    owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    quick, waiting = (
        open_redis(parts.redis_url, cluster=parts.redis_cluster, timeout=seconds, patient=False)
        for seconds in (1.0, 2 * _WAIT)
    )
    try:
        yield build(parts, stream, owner, quick, waiting)
    finally:
        await quick.aclose()
        await waiting.aclose()


def build(
    parts: RunParts, stream: StreamConfig, owner: str, quick: redis.asyncio.Redis, waiting: redis.asyncio.Redis
) -> RunDesk:
    database, vault = parts.database, parts.vault
    store = SharedLog(quick, stream.log_ttl)
    sharing = Sharing(store, database, vault, encode.event_bytes)
    reader = ClusterReader(quick, _WAIT) if parts.redis_cluster else LogReader(waiting, quick, owner, _WAIT)
    mirrors = Mirrors(store, reader, database, vault, alone=stream.alone)
    logs = RunLogs(keep=stream.log_ttl, changed=sharing.changed)
    tick = SharedTick(asyncio.get_running_loop())
    settings = RunnerSettings(
        lease=stream.lease, settle_patience=stream.lease * 2 / 3, alone=stream.alone, window=stream.merge_window
    )
    runner = Runner(owner, database, vault, parts.recorder, parts.assistant, parts.tools, logs, tick, settings)
    limits = StreamLimits(stream.heartbeat, stream.max_age)
    following = Following(database, vault, logs, limits, parts.proposals, mirrors)
    keeping = Keeping(runner, database, vault, parts.recorder, logs, store, sharing)
    return RunDesk(runner, following, logs, sharing, mirrors, keeping, Tickets(quick))
