"""The connection pool: bounded, health-checked, recycled, and indifferent to whether PostgreSQL is there yet.

`Database` starts without PostgreSQL and outlives its restarts. One task, the prober, holds one connection beside the
pool: its loss is noticed at once, its return within `probe_backoff_max`, and while it is away calls fail immediately
with STORE_UNAVAILABLE instead of queueing. JSON columns travel as text: no codec is installed, because PgQueuer shares
these connections when a job is enqueued in a caller's transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from server.db.errors import AWAY, store_busy, store_unavailable, translate_errors
from server.db.timeouts import missing_timeouts
from server.owned_tasks import end
from server.waiting import within

log = logging.getLogger(__name__)

Connection: TypeAlias = PoolConnectionProxy
Isolation: TypeAlias = Literal["read_committed", "repeatable_read", "serializable"]

_RELEASE_PATIENCE = 5.0  # seconds for the session reset; a connection that cannot do it is closed
_CLOSE_PATIENCE = 10.0  # seconds for calls in flight when the process ends


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Sizes are connections, times are seconds.

    `acquire_timeout` bounds the wait of a caller that names no deadline of its own. `idle_check` is the idle time
    after which a connection is tried before it is handed out (a firewall may have forgotten it). `recycle` is the age
    at which connections are replaced, so that a failover or a changed role setting reaches every process. `pooled` is
    for a pooler that gives each transaction another connection: no prepared statement is kept, and timeouts are not
    asked for, because the pooler refuses settings of a session; they are the role's there, and a warning names
    those that it lacks.
    """

    min_size: int = 10
    max_size: int = 30
    acquire_timeout: float = 5.0
    connect_timeout: float = 5.0
    statement_timeout: float = 30.0
    lock_timeout: float = 5.0
    idle_check: float = 30.0
    recycle: float = 3600.0
    probe_interval: float = 5.0
    probe_timeout: float = 2.0
    probe_backoff_max: float = 1.0
    application_name: str = "tria"
    pooled: bool = False

    @property
    def timeouts(self) -> Mapping[str, int]:
        """What a session must have, ms by PostgreSQL's name."""
        return {
            "statement_timeout": round(self.statement_timeout * 1000),
            "lock_timeout": round(self.lock_timeout * 1000),
            "idle_in_transaction_session_timeout": 60_000,
        }


@dataclass(frozen=True, slots=True)
class PoolStats:
    """One look at the pool, for gauges: connections, and callers that wait for one."""

    size: int
    idle: int
    in_use: int
    waiting: int
    max_size: int
    available: bool
    outages: int


class _Connection(asyncpg.Connection):
    """An asyncpg connection that remembers when it was last known to work (loop time).

    Methods, because the pool hands out a proxy that forwards calls but takes no attributes.
    """

    _proven_at = 0.0

    def prove(self, now: float) -> None:
        self._proven_at = now

    def proven_at(self) -> float:
        return self._proven_at


def _inner(connection: Connection) -> _Connection:
    return cast("_Connection", connection)


def _is_lost(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken the proxy away already, which it does when it sees the loss
        return True


class Database:
    """PostgreSQL for one process. Use as `async with Database(dsn) as database:` or with `start()` and `close()`."""

    def __init__(self, dsn: str, settings: PoolSettings | None = None) -> None:
        self._dsn = dsn
        self._settings = settings or PoolSettings()
        self._pool: asyncpg.Pool | None = None
        self._probe: asyncpg.Connection | None = None
        self._probe_lost = asyncio.Event()
        self._prober: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._available = False
        self._waiting = 0
        self._outages = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def available(self) -> bool:
        """Whether PostgreSQL answered last time; never blocks."""
        return self._available

    async def start(self) -> None:
        """Return after the first attempt to connect, whether it worked or not (see `available`)."""
        self._prober = asyncio.create_task(self._keep_probing(), name="database-prober")
        settled = asyncio.create_task(self._settled.wait())
        await asyncio.wait({settled, self._prober}, return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        await asyncio.wait({settled})
        if self._prober.done():
            self._prober.result()

    async def close(self) -> None:
        """Let calls in flight finish for a while, then close every connection."""
        if self._prober is not None:
            await end({self._prober})
            self._prober = None
        self._available = False
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), _CLOSE_PATIENCE)
            except TimeoutError:
                pool.terminate()

    async def ping(self) -> bool:
        """Ask PostgreSQL now, on the prober's own connection, so that a busy pool is not mistaken for a dead store."""
        probe = self._probe
        if probe is None or probe.is_closed():
            return False
        try:
            await probe.fetchval("select 1", timeout=self._settings.probe_timeout)
        except asyncpg.InterfaceError:  # the prober is asking at this very moment
            return self._available
        except AWAY:
            self._probe_lost.set()
            return False
        return True

    def stats(self) -> PoolStats:
        size = self._pool.get_size() if self._pool else 0
        idle = self._pool.get_idle_size() if self._pool else 0
        return PoolStats(
            size=size,
            idle=idle,
            in_use=size - idle,
            waiting=self._waiting,
            max_size=self._settings.max_size,
            available=self._available,
            outages=self._outages,
        )

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:
        """A connection in autocommit mode, waited for at most `timeout` s (what is left of the call's deadline).

        Raises AppError UNAVAILABLE: STORE_BUSY when none came free in time, STORE_UNAVAILABLE when PostgreSQL is away.
        """
        pool = self._pool
        if pool is None or not self._available:
            raise store_unavailable()
        wait = self._settings.acquire_timeout if timeout is None else timeout
        connection = await self._checkout(pool, wait)
        try:
            async with translate_errors():
                try:
                    yield connection
                except asyncpg.InterfaceError as cause:
                    if _is_lost(connection):  # between two statements
                        raise store_unavailable() from cause
                    raise
        finally:
            await self._give_back(pool, connection)

    @asynccontextmanager
    async def transaction(
        self, timeout: float | None = None, *, isolation: Isolation = "read_committed", readonly: bool = False
    ) -> AsyncIterator[Connection]:
        """A connection inside one transaction: committed when the block ends, rolled back when it raises.

        Keep everything but SQL out of the block. Raises like `connection()`; a collision under a stricter isolation
        level, or a deadlock, is ABORTED.
        """
        async with (
            self.connection(timeout) as connection,
            connection.transaction(isolation=isolation, readonly=readonly),
        ):
            yield connection

    async def _checkout(self, pool: asyncpg.Pool, wait: float) -> Connection:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        self._waiting += 1
        try:
            while True:
                connection = await pool.acquire(timeout=max(deadline - loop.time(), 0.001))
                if await self._proven(pool, connection, deadline):
                    return connection
        except TimeoutError as cause:
            if pool.get_size() - pool.get_idle_size() >= pool.get_max_size():
                raise store_busy("all database connections are in use") from cause
            self._probe_lost.set()
            raise store_unavailable() from cause
        except (*AWAY, asyncpg.InterfaceError) as cause:
            self._probe_lost.set()
            raise store_unavailable() from cause
        finally:
            self._waiting -= 1

    async def _proven(self, pool: asyncpg.Pool, connection: Connection, deadline: float) -> bool:
        """True when the connection was used recently or answers; else it is thrown away, and the pool's others too."""
        loop = asyncio.get_running_loop()
        if loop.time() - _inner(connection).proven_at() < self._settings.idle_check:
            return True
        try:
            patience = min(self._settings.probe_timeout, max(deadline - loop.time(), 0.001))
            await connection.execute("select 1", timeout=patience)
        except (*AWAY, asyncpg.InterfaceError):
            if not _is_lost(connection):
                connection.terminate()
            await pool.release(connection)
            await pool.expire_connections()
            return False
        except asyncio.CancelledError:
            await pool.release(connection, timeout=_RELEASE_PATIENCE)
            raise
        _inner(connection).prove(loop.time())
        return True

    async def _give_back(self, pool: asyncpg.Pool, connection: Connection) -> None:
        if not _is_lost(connection):
            _inner(connection).prove(asyncio.get_running_loop().time())
        try:
            # Our own patience: by default asyncpg gives the session reset what was given to the *acquire*.
            await pool.release(connection, timeout=_RELEASE_PATIENCE)
        except (*AWAY, asyncpg.InterfaceError) as lost:
            # The work is done or has failed already; asyncpg has closed the connection, nothing else is to be said.
            log.warning("a database connection was lost on its way back to the pool: %s", type(lost).__name__)

    async def _keep_probing(self) -> None:
        """Root of the prober task: connect, watch, reconnect, for as long as the process lives."""
        backoff = 0.05
        while True:
            try:
                await self._connect()
            except (*AWAY, asyncpg.PostgresError, asyncpg.InterfaceError) as refused:
                self._drop_probe()
                self._mark(available=False, why=refused)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, self._settings.probe_backoff_max)
                continue
            backoff = 0.05
            self._mark(available=True)
            try:
                await self._watch()
            finally:
                self._drop_probe()

    async def _connect(self) -> None:
        self._probe_lost.clear()
        settings = self._settings
        probe = await asyncpg.connect(
            self._dsn,
            timeout=settings.connect_timeout,
            statement_cache_size=0 if settings.pooled else 100,
            server_settings=self._session(),
        )
        probe.add_termination_listener(lambda _: self._probe_lost.set())
        self._probe = probe
        if settings.pooled:
            # A pooler may take the login and leave the first query waiting: then the database is not there.
            patience = asyncio.get_running_loop().call_later(settings.connect_timeout, probe.terminate)
            try:
                missing = await missing_timeouts(probe, settings.timeouts)
            finally:
                patience.cancel()
            if missing:
                log.warning(
                    "%s", missing
                )  # no reason to serve nobody: command_timeout below ends statements too, later
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=settings.min_size,
                max_size=settings.max_size,
                connection_class=_Connection,
                command_timeout=settings.statement_timeout + 5.0,  # for a peer that vanished without a word
                timeout=settings.connect_timeout,
                statement_cache_size=0 if settings.pooled else 100,
                server_settings=self._session(),
            )

    def _session(self) -> dict[str, str]:
        settings = self._settings
        if settings.pooled:
            return {"application_name": settings.application_name}
        timeouts = {name: str(ms) for name, ms in settings.timeouts.items()}
        return {"application_name": settings.application_name, **timeouts}

    async def _watch(self) -> None:
        """Return when PostgreSQL stops answering; meanwhile recycle the pool's connections when they are old."""
        loop = asyncio.get_running_loop()
        recycle_at = loop.time() + self._settings.recycle
        while True:
            await within(self._probe_lost, self._settings.probe_interval)
            if not await self.ping():
                return
            self._probe_lost.clear()
            if self._pool is not None and loop.time() >= recycle_at:
                await self._pool.expire_connections()
                recycle_at = loop.time() + self._settings.recycle

    def _drop_probe(self) -> None:
        if self._probe is not None:
            self._probe.terminate()
            self._probe = None

    def _mark(self, *, available: bool, why: Exception | None = None) -> None:
        if self._available and not available:
            self._outages += 1
        if available != self._available or not self._settled.is_set():
            if available:
                log.info("the database is available")
            else:
                log.error("the database is not available: %s", type(why).__name__)
        self._available = available
        self._settled.set()
