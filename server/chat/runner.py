"""Runs, detached from the calls that started them: one task each, owned here, ended in exactly one way.

The row of a run is the truth; this process works on the runs whose lease it renews. A run that it does not have any
more, for whatever reason, is not renewed, and whoever sees its lease end writes it down as INTERRUPTED. What a run says
goes to its log as it comes; message, cost and decision leaf are stored in one transaction before the terminal event is
told to anybody.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TypeVar

from server.audit.recorder import AuditRecorder
from server.audit.sealing import Vault
from server.chat import runs
from server.chat.accepting import Acceptance
from server.chat.assistant import Assistant, Tools
from server.chat.events import Accepted, Event, Interrupted, Queued
from server.chat.relay import SharedTick
from server.chat.runlog import RunLog, RunLogs
from server.chat.runs import RunState
from server.chat.settling import Outcome, Settlement, record_lost
from server.chat.task import Task
from server.chat.telling import Telling
from server.db.pool import Database
from server.errors import AppError, Code, Reason
from server.waiting import first_of

log = logging.getLogger(__name__)
T = TypeVar("T")

_STOP_PATIENCE = 5.0  # seconds for stopped runs to be stored
_POLL = 0.25  # seconds between looks at earlier runs of a conversation


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Times in seconds: `lease` without renewal ends a run, `longest` is the life of one answer, `settle_patience`
    how long storing an answer is tried again while PostgreSQL is away; it must be shorter than the lease."""

    lease: float = 30.0
    longest: float = 120.0
    settle_patience: float = 20.0


@dataclass(slots=True)
class _Active:
    task: Task
    log: RunLog
    acceptance: Acceptance
    previous: asyncio.Event | None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    stop_as: RunState = RunState.CANCELLED
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Runner:
    """The runs of this process. `tools` binds look-ups to whom a run answers."""

    def __init__(
        self,
        owner: str,
        database: Database,
        vault: Vault,
        audit: AuditRecorder,
        assistant: Assistant,
        tools: Callable[[Task, Callable[[], None]], Tools],
        logs: RunLogs,
        tick: SharedTick,
        settings: RunnerSettings | None = None,
    ) -> None:
        self.owner = owner
        self._database = database
        self._vault = vault
        self._audit = audit
        self._assistant = assistant
        self._tools = tools
        self._logs = logs
        self._tick = tick
        self._settings = settings or RunnerSettings()
        self._active: dict[tuple[str, str], _Active] = {}
        self._newest: dict[tuple[str, str], _Active] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reachable_since = time.monotonic()

    @property
    def lease(self) -> float:
        return self._settings.lease

    @property
    def active(self) -> int:
        """Runs going on."""
        return len(self._active)

    async def whole(self, work: Coroutine[None, None, T]) -> T:
        """Runs `work` to its end even when the caller is cancelled: what is stored must also be started."""
        working = asyncio.create_task(work)
        noted = asyncio.create_task(_settled(working))
        self._tasks.add(noted)
        noted.add_done_callback(self._tasks.discard)
        return await asyncio.shield(working)

    def start(self, task: Task) -> None:
        """Opens the run's log and sets it going; returns at once."""
        tenant, run = task.caller.tenant, task.run
        run_log = self._logs.open(run.name, tenant, task.conversation.outlet, task.caller.person)
        accepted = Accepted(
            message=f"{task.conversation.name}/messages/{task.message.id}",
            conversation=task.conversation.name,
            controller=task.conversation.controller,
            queue_position=task.waits,
        )
        thread = (tenant, task.conversation.id)
        before = self._newest.get(thread)
        active = _Active(task, run_log, Acceptance(run_log, accepted), before.done if before else None)
        self._active[tenant, run.name] = self._newest[thread] = active
        running = asyncio.create_task(self._run(active), name=run.name)
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)

    def cancel(self, tenant: str, run: str) -> bool:
        """Stops a run of this process; False when it is not here."""
        active = self._active.get((tenant, run))
        if active is None:
            return False
        active.stop.set()
        return True

    async def wait(self, tenant: str, run: str) -> None:
        """Returns when the run is settled, or at once when it is not of this process."""
        if active := self._active.get((tenant, run)):
            await active.done.wait()

    async def drain(self, patience: float) -> None:
        """Lets runs finish for `patience` seconds, then ends the rest as INTERRUPTED."""
        deadline = time.monotonic() + patience
        while self._tasks and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(set(self._tasks), timeout=left)  # what they start is waited for too
        for active in self._active.values():
            active.stop_as = RunState.INTERRUPTED
            active.stop.set()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_STOP_PATIENCE)

    async def keep_leases(self) -> None:
        """Renews the leases of the runs that are here and ends those that nobody has, until cancelled."""
        while True:
            try:
                await self._look_after_leases()
            except AppError as problem:
                # The pool says that PostgreSQL is away, and health shows it. Nobody could renew meanwhile, so nobody's
                # lease may be ended until everybody had the time to.
                self._reachable_since = time.monotonic()
                log.debug("leases not renewed", extra={"reason": problem.reason})
            await asyncio.sleep(self.lease / 4 * random.uniform(0.8, 1.0))  # noqa: S311  # jitter between replicas

    async def _look_after_leases(self) -> None:
        ids = [active.task.run.id for active in self._active.values()]
        async with self._database.connection() as connection:
            for tenant, run in await runs.renew_leases(connection, self.owner, self.lease, ids):
                self.cancel(tenant, run)
        if time.monotonic() - self._reachable_since < self.lease:
            return
        async with self._database.transaction() as connection:
            lost = await runs.expire_leases(connection)
            await record_lost(connection, self._audit.shown, lost)
        if lost:
            log.warning("runs interrupted", extra={"runs": len(lost), "why": "nobody has them any more"})

    async def _run(self, active: _Active) -> None:
        """Root of a run's task: whatever happens, the run ends once and its followers are told."""
        key = (active.task.caller.tenant, active.task.run.name)
        terminal: Event = Interrupted(retryable=True)
        try:
            terminal = await self._produce(active)
        except AppError as problem:
            # Not stored: the lease runs out, and the run is INTERRUPTED for everybody as it is for its followers.
            log.warning("run not settled", extra={"run": key[1], "reason": problem.reason})
        except Exception:  # the root of a background task: its followers must not wait for ever
            log.exception("run broke", extra={"run": key[1]})
        finally:
            self._active.pop(key, None)
            thread = (key[0], active.task.conversation.id)
            if self._newest.get(thread) is active:
                del self._newest[thread]
            active.done.set()
        active.acceptance.say()
        if not active.log.ended:
            active.log.append(terminal)
        self._logs.close(active.log)

    async def _produce(self, active: _Active) -> Event:
        settlement = Settlement(
            self._database,
            self._vault,
            self._audit.shown,
            active.task,
            active.log,
            self.owner,
            self._settings.settle_patience,
        )
        if not await self._take_turn(active):
            active.acceptance.say()
            return await settlement.settle(Outcome(active.stop_as if active.stop.is_set() else RunState.CANCELLED))
        telling = Telling(active.task, active.log, self._tick, self._vault, active.acceptance)
        tools = self._tools(active.task, telling.degraded)
        answering = asyncio.create_task(telling.tell(self._assistant, tools, self._database, self._settings.longest))
        stopping = asyncio.create_task(active.stop.wait())
        try:
            await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            answering.cancel()
            await asyncio.wait({answering, stopping})
        broken = None if answering.cancelled() else answering.exception()
        if broken is not None:
            log.error("answer broke", extra={"run": active.task.run.name}, exc_info=broken)
            telling.fail(AppError(Code.INTERNAL, Reason.INTERNAL, "internal error"))
        active.acceptance.say()
        return await settlement.settle(telling.outcome(active.stop_as if answering.cancelled() else None))

    async def _take_turn(self, active: _Active) -> bool:
        """Waits until no earlier run of the conversation is going on anywhere; False when stopped before that."""
        if active.previous is not None:
            active.acceptance.say()
            active.log.append(Queued(max(active.task.waits, 1)))
            await first_of(active.previous, active.stop)
        deadline = time.monotonic() + self._settings.settle_patience
        while not active.stop.is_set():
            try:
                if (started := await self._try_to_start(active.task)) is not None:
                    return started
                deadline = time.monotonic() + self._settings.settle_patience
            except AppError as problem:
                if problem.code is not Code.UNAVAILABLE or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_POLL)
        return False

    async def _try_to_start(self, task: Task) -> bool | None:
        """Whether the run was started; None while it is not its turn."""
        tenant, conversation = task.caller.tenant, task.conversation.id
        async with self._database.connection() as connection:
            going_on = await runs.active_runs(connection, tenant, conversation)
            if any(run.ordinal < task.run.ordinal for run in going_on):
                return None
            return await runs.start_run(connection, tenant, conversation, task.run.id, self.owner)


async def _settled(work: Awaitable[object]) -> None:
    """Waits for work that its caller may have left; the caller that stayed gets the exception."""
    await asyncio.gather(work, return_exceptions=True)
