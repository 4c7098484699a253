"""Runs, detached from the calls that started them: one task each, owned here, ended in exactly one way.

A run is leased to this process. While the process lives its leases are renewed together; when it dies they run out
and any other process ends its runs as INTERRUPTED. What a run says goes to its log as it comes; the message, the cost
and the audit leaf are stored in one transaction before the terminal event is told to anybody.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from server.audit.recorder import AuditRecorder
from server.caller import Caller, Request
from server.chat import runs
from server.chat.assistant import Assistant, Tools, Usage
from server.chat.conversations import Conversation, Message
from server.chat.events import Accepted, Cancelled, Event, Failed, Interrupted, Queued
from server.chat.relay import SharedTick
from server.chat.runlog import RunLog, RunLogs
from server.chat.runs import Run, RunState
from server.chat.telling import Telling, settle
from server.db.pool import Database
from server.errors import AppError, Code, Reason

log = logging.getLogger(__name__)

_POLL = 0.25  # seconds between looks at a predecessor that another process runs


@dataclass(frozen=True, slots=True)
class Task:
    """What a run has to answer. `waits` runs of the conversation were going on when it was stored."""

    caller: Caller
    request: Request
    conversation: Conversation
    message: Message
    run: Run
    locale: str
    waits: int


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Times in seconds: `lease` without renewal ends a run, `longest` is the life of one answer, `settle_patience`
    how long storing an answer is tried again while PostgreSQL is away."""

    lease: float = 15.0
    longest: float = 120.0
    settle_patience: float = 20.0


@dataclass(slots=True)
class _Active:
    task: Task
    log: RunLog
    previous: _Active | None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    stop_as: RunState = RunState.CANCELLED
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Runner:
    """The runs of this process. `tools` binds look-ups to a tenant and an outlet."""

    def __init__(
        self,
        owner: str,
        database: Database,
        audit: AuditRecorder,
        assistant: Assistant,
        tools: Callable[[str, str, Callable[[], None]], Tools],
        logs: RunLogs,
        tick: SharedTick,
        settings: RunnerSettings | None = None,
    ) -> None:
        self.owner = owner
        self._database = database
        self._audit = audit
        self._assistant = assistant
        self._tools = tools
        self._logs = logs
        self._tick = tick
        self._settings = settings or RunnerSettings()
        self._active: dict[tuple[str, str], _Active] = {}
        self._newest: dict[tuple[str, str], _Active] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def lease(self) -> float:
        return self._settings.lease

    @property
    def active(self) -> int:
        """Runs going on."""
        return len(self._active)

    def start(self, task: Task) -> None:
        """Opens the run's log and sets it going; returns at once."""
        tenant, run = task.caller.tenant, task.run
        run_log = self._logs.open(run.name, tenant, task.conversation.outlet)
        run_log.append(
            Accepted(
                message=f"{task.conversation.name}/messages/{task.message.id}",
                conversation=task.conversation.name,
                controller=task.conversation.controller,
                queue_position=task.waits,
            )
        )
        thread = (tenant, task.conversation.id)
        active = _Active(task, run_log, self._newest.get(thread))
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
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=patience)
        for active in self._active.values():
            active.stop_as = RunState.INTERRUPTED
            active.stop.set()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=5.0)

    async def keep_leases(self) -> None:
        """Renews this process's leases and ends those of dead processes, until cancelled."""
        while True:
            try:
                async with self._database.connection() as connection:
                    for tenant, run in await runs.renew_leases(connection, self.owner, self.lease):
                        self.cancel(tenant, run)
                    if count := await runs.expire_leases(connection):
                        log.warning("runs interrupted", extra={"runs": count, "why": "their process died"})
            except AppError as problem:
                # PostgreSQL is away: the pool says so itself and health shows it; leases are renewed when it is back.
                log.debug("leases not renewed", extra={"reason": problem.reason})
            await asyncio.sleep(self.lease / 3 * random.uniform(0.8, 1.0))  # noqa: S311  # jitter between replicas

    async def _run(self, active: _Active) -> None:
        """Root of a run's task: whatever happens, the run ends once and its followers are told."""
        key = (active.task.caller.tenant, active.task.run.name)
        try:
            terminal = await self._produce(active)
        except AppError as problem:
            terminal = Interrupted(retryable=True)
            log.warning("run not settled", extra={"run": key[1], "reason": problem.reason})
        except Exception:  # the root of a background task: the run must end for its followers
            log.exception("run broke", extra={"run": key[1]})
            terminal = Failed(AppError(Code.INTERNAL, Reason.INTERNAL, "internal error"))
        finally:
            self._active.pop(key, None)
            thread = (key[0], active.task.conversation.id)
            if self._newest.get(thread) is active:
                del self._newest[thread]
            active.previous = None
            active.done.set()
        if not active.log.ended:
            active.log.append(terminal)
        self._logs.close(active.log)

    async def _produce(self, active: _Active) -> Event:
        if not await self._take_turn(active):
            return await self._settle_unstarted(active)
        telling = Telling(active.task, active.log, self._tick)
        tools = self._tools(active.task.caller.tenant, active.task.conversation.outlet, telling.degraded)
        answering = asyncio.create_task(telling.tell(self._assistant, tools, self._database, self._settings.longest))
        stopping = asyncio.create_task(active.stop.wait())
        try:
            await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            answering.cancel()
            await asyncio.wait({answering, stopping})
        if not answering.cancelled() and (error := answering.exception()) is not None:
            raise error
        stopped = active.stop_as if answering.cancelled() else None
        outcome = telling.outcome(stopped)
        return await settle(
            self._database, self._audit, active.task, active.log, outcome, self.owner, self._settings.settle_patience
        )

    async def _take_turn(self, active: _Active) -> bool:
        """Waits for the conversation's earlier runs; False when the run was stopped before it began."""
        task = active.task
        if active.previous is not None:
            active.log.append(Queued(max(task.waits, 1)))
            await _first(active.previous.done, active.stop)
        while not active.stop.is_set():
            async with self._database.connection() as connection:
                running = await runs.active_runs(connection, task.caller.tenant, task.conversation.id)
                if not any(run.owner != self.owner for run in running[: _place(running, task.run)]):
                    return await runs.start_run(
                        connection, task.caller.tenant, task.conversation.id, task.run.id, self.owner
                    )
            await asyncio.sleep(_POLL)
        return False

    async def _settle_unstarted(self, active: _Active) -> Event:
        task = active.task
        async with self._database.connection() as connection:
            state = active.stop_as if active.stop.is_set() else RunState.CANCELLED
            ending = runs.Ending(state, active.log.last_seq + 1, Usage())
            await runs.end_run(connection, task.caller.tenant, task.conversation.id, task.run.id, self.owner, ending)
        return Cancelled("") if state is RunState.CANCELLED else Interrupted(retryable=True)


def _place(running: list[Run], run: Run) -> int:
    """How many of the active runs come before this one."""
    return next((place for place, other in enumerate(running) if other.id == run.id), len(running))


async def _first(*events: asyncio.Event) -> None:
    """Returns when any of the events is set."""
    waits = {asyncio.create_task(event.wait()) for event in events}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
