"""Runs, detached from the calls that started them: one task each, owned here, ended in exactly one way.

The row of a run is the truth; this process works on the runs whose lease it renews (server/chat/keeping.py). What a run
says goes to its log as it comes; message, cost and decision leaf are stored in one transaction before the terminal
event is told to anybody. A run that turns out to be another process's is let go: its followers look for it elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from server.audit.recorder import AuditRecorder
from server.audit.sealing import Vault
from server.chat import leases, runs
from server.chat.accepting import Acceptance
from server.chat.assistant import Assistant, Tools, Usage
from server.chat.events import Accepted, Event, Interrupted, Queued, TextDone
from server.chat.leases import Leased
from server.chat.relay import SharedTick
from server.chat.runlog import RunLog, RunLogs
from server.chat.runs import RunState
from server.chat.settling import Outcome, Settlement, stored_terminal
from server.chat.task import NewerMessage, RunLost, Task, Unwanted, with_merged
from server.chat.telling import Telling
from server.db.pool import Database
from server.errors import AppError, Code, Reason
from server.waiting import first_of, within

log = logging.getLogger(__name__)
T = TypeVar("T")

_STOP_PATIENCE = 5.0  # seconds for stopped runs to be stored
_STORE_PATIENCE = 12.0  # seconds for a message to be stored: a connection and a lock may take 5 each
UNANSWERED_EVENTS = 3  # of a run whose message is for a person: accepted, no text, completed
_POLL = 0.25  # seconds between looks at earlier runs of a conversation


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Times in seconds: `lease` without renewal ends a run, `longest` is the life of one answer, `settle_patience`
    how long storing an answer is tried again while PostgreSQL is away (it must be shorter than the lease), `alone` how
    long a run goes on that nobody follows, `window` how long one waits for messages to merge."""

    lease: float = 30.0
    longest: float = 120.0
    settle_patience: float = 20.0
    alone: float = 120.0
    window: float = 1.5


@dataclass(slots=True, eq=False)
class _Active:
    task: Task
    log: RunLog
    acceptance: Acceptance
    previous: asyncio.Event | None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    stop_as: RunState = RunState.CANCELLED
    lost: bool = False
    told: bool = False
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
        self.settings = settings or RunnerSettings()
        self.draining = False
        self._database = database
        self._vault = vault
        self._audit = audit
        self._assistant = assistant
        self._tools = tools
        self._logs = logs
        self._tick = tick
        self._active: dict[tuple[str, str], _Active] = {}
        self._threads: dict[tuple[str, str], list[_Active]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._storing: set[asyncio.Task[None]] = set()

    @property
    def active(self) -> int:
        """Runs going on."""
        return len(self._active)

    @property
    def held(self) -> list[Leased]:
        """The runs that are here."""
        return [active.task.lease for active in self._active.values() if not active.lost]

    async def whole(self, work: Coroutine[None, None, T]) -> T:
        """Runs `work` to its end even when the caller is cancelled: what is stored must also be started."""
        working = asyncio.create_task(work)
        noted = asyncio.create_task(_settled(working))
        self._storing.add(noted)
        noted.add_done_callback(self._storing.discard)
        return await asyncio.shield(working)

    def start(self, task: Task) -> None:
        """Opens the run's log and sets it going; returns at once."""
        tenant, run = task.caller.tenant, task.run
        run_log = self._logs.open(run.name, tenant, task.conversation.outlet, task.caller.person, run.epoch)
        accepted = Accepted(
            message=f"{task.conversation.name}/messages/{task.message.id}",
            conversation=task.conversation.name,
            controller=task.conversation.controller,
            queue_position=task.waits,
        )
        self.go_on(task, run_log, accepted)

    def go_on(self, task: Task, run_log: RunLog, accepted: Accepted | None = None) -> None:
        """Sets a run going whose log is open; `accepted` is what that does not say yet."""
        tenant = task.caller.tenant
        thread = (tenant, task.conversation.id)
        others = self._threads.setdefault(thread, [])
        # By their place, and not by when they came here: calls return from storing their messages in any order.
        earlier = [each for each in others if each.task.run.ordinal < task.run.ordinal]
        previous = max(earlier, key=lambda each: each.task.run.ordinal).done if earlier else None
        active = _Active(task, run_log, Acceptance(run_log, accepted), previous)
        self._active[tenant, task.run.name] = active
        others.append(active)
        running = asyncio.create_task(self._run(active), name=task.run.name)
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)

    def leave_unanswered(self, task: Task) -> None:
        """Tells whoever sent a message for a person that nothing more comes of its run."""
        run, conversation = task.run, task.conversation
        run_log = self._logs.open(run.name, task.caller.tenant, conversation.outlet, task.caller.person)
        message = f"{conversation.name}/messages/{task.message.id}"
        run_log.append(Accepted(message, conversation.name, conversation.controller))
        run_log.append(TextDone(hashlib.sha256(b"").hexdigest()))
        run_log.append(stored_terminal(run, None))
        self._logs.close(run_log)

    def silence(self, tenant: str, conversation: str, epoch: int) -> None:
        """Stops the runs of a conversation that began under an older controller."""
        for active in self._active.values():
            task = active.task
            of_it = (task.caller.tenant, task.conversation.id) == (tenant, conversation)
            if of_it and task.run.controller_epoch < epoch:
                active.stop.set()

    def cancel(self, tenant: str, run: str) -> bool:
        """Stops a run of this process; False when it is not here."""
        active = self._active.get((tenant, run))
        if active is None:
            return False
        active.stop.set()
        return True

    def forget(self, tenant: str, person: str) -> None:
        """Stops what is being said to somebody who was erased; nothing of it is stored."""
        for active in self._active.values():
            caller = active.task.caller
            if person and (caller.tenant, caller.person) == (tenant, person):
                active.stop_as = RunState.INTERRUPTED
                active.stop.set()

    def let_go(self, tenant: str, run: str) -> None:
        """The run has another owner by now: nothing of it is told or stored here any more."""
        if active := self._active.get((tenant, run)):
            active.lost = True
            active.stop.set()

    def unfollowed(self, patience: float) -> list[Leased]:
        """The runs that nobody in this process has followed for so many seconds."""
        long_ago = time.monotonic() - patience
        return [
            active.task.lease
            for active in self._active.values()
            if not active.log.followers and active.log.alone_since < long_ago
        ]

    async def wait(self, tenant: str, run: str) -> None:
        """Returns when the run is settled, or at once when it is not of this process."""
        if active := self._active.get((tenant, run)):
            await active.done.wait()

    async def stored(self) -> None:
        """Returns when no message is being stored any more, or could not be for longer than the database lets wait."""
        if self._storing:
            await asyncio.wait(set(self._storing), timeout=_STORE_PATIENCE)

    async def finish(self, patience: float) -> None:
        """Lets runs finish, for at most `patience` seconds."""
        self.draining = True
        deadline = time.monotonic() + patience
        while (going_on := self._tasks | self._storing) and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(going_on, timeout=left)  # what they start is waited for too

    async def give_away(self, shared: Callable[[], Awaitable[object]]) -> None:
        """Gives the runs that have said nothing to another process and ends the others that are going on as
        INTERRUPTED; what begins meanwhile is left alone. `shared` returns when whoever takes a run over finds its log.
        """
        leaving = list(self._active.values())
        if not leaving:
            return
        for active in leaving:
            active.acceptance.say()
        await shared()
        deadline = time.monotonic() + _STOP_PATIENCE
        while True:
            if await self._released(leaving) or time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL)
        for active in leaving:
            if not active.stop.is_set():
                active.stop_as = RunState.INTERRUPTED
                active.stop.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_PATIENCE):
                await asyncio.gather(*(active.done.wait() for active in leaving))

    async def _released(self, leaving: Sequence[_Active]) -> bool:
        """Whether those of the runs that may be given away are; a row that somebody else holds just now is not."""
        untold = [active.task.lease for active in leaving if not (active.told or active.stop.is_set())]
        given: list[Leased] = []
        try:
            if untold:
                async with self._database.transaction() as connection:
                    given = await leases.release(connection, self.owner, untold)
        except AppError as problem:
            log.warning("runs not given away", extra={"reason": problem.reason})
        for lease in given:
            self.let_go(lease.tenant, lease.name)
        return len(given) == len(untold)

    async def _run(self, active: _Active) -> None:
        """Root of a run's task: whatever happens, the run ends once and its followers are told."""
        key = (active.task.caller.tenant, active.task.run.name)
        terminal: Event | None = Interrupted(retryable=True)
        try:
            terminal = await self._produce(active)
        except RunLost:
            log.info("run is another's", extra={"run": key[1], "epoch": active.task.run.epoch})
            terminal = None
        except AppError as problem:
            # Not stored: the lease runs out, and the run is INTERRUPTED for everybody as it is for its followers.
            log.warning("run not settled", extra={"run": key[1], "reason": problem.reason})
        except Exception:  # the root of a background task: its followers must not wait for ever
            log.exception("run broke", extra={"run": key[1]})
        finally:
            if self._active.get(key) is active:  # it may be here again, taken back in a newer epoch
                del self._active[key]
            thread = (key[0], active.task.conversation.id)
            self._threads[thread].remove(active)
            if not self._threads[thread]:
                del self._threads[thread]
            active.done.set()
        if terminal is None:
            active.acceptance.forgo()
            self._logs.drop(active.log)
            return
        active.acceptance.say()
        if not active.log.ended:
            active.log.append(terminal)
        self._logs.close(active.log)

    async def _produce(self, active: _Active) -> Event:
        spent, task = Usage(), await self._take_turn(active)
        while True:
            try:
                if task is None:
                    stopped = Outcome(active.stop_as if active.stop.is_set() else RunState.CANCELLED)
                    return await self._settlement(active, active.task).settle(stopped)
                telling = self._telling(active, task, spent)
                outcome = await self._tell(active, task, telling)
                return await self._settlement(active, task).settle(outcome)
            except NewerMessage:
                if task is None:
                    raise RunLost from None
                spent = telling.spent()
                task = await self._read_again(task)

    def _settlement(self, active: _Active, task: Task) -> Settlement:
        if active.lost:
            raise RunLost
        active.acceptance.say()  # it counts among the events that are stored
        patience = self.settings.settle_patience
        return Settlement(self._database, self._vault, self._audit.shown, task, active.log, self.owner, patience)

    def _telling(self, active: _Active, task: Task, spent: Usage) -> Telling:
        async def may_begin() -> None:
            await self._claim_first_word(task)
            active.told = True

        return Telling(task, active.log, self._tick, self._vault, active.acceptance, may_begin, spent)

    async def _tell(self, active: _Active, task: Task, telling: Telling) -> Outcome:
        """Lets the assistant answer until it has or the run is stopped. Raises RunLost and NewerMessage."""
        tools = self._tools(task, telling.degraded)
        answering = asyncio.create_task(telling.tell(self._assistant, tools, self._database, self.settings.longest))
        stopping = asyncio.create_task(active.stop.wait())
        try:
            await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            answering.cancel()
            await asyncio.wait({answering, stopping})
        broken = None if answering.cancelled() else answering.exception()
        if isinstance(broken, RunLost | NewerMessage):
            raise broken
        if isinstance(broken, Unwanted):
            return telling.outcome(active.stop_as)
        if broken is not None:
            log.error("answer broke", extra={"run": active.task.run.name}, exc_info=broken)
            telling.fail(AppError(Code.INTERNAL, Reason.INTERNAL, "internal error"))
        return telling.outcome(active.stop_as if answering.cancelled() else None)

    async def _claim_first_word(self, task: Task) -> None:
        """Writes down that something will be shown, so that nobody makes this answer anew. Raises RunLost when the run
        is another's, NewerMessage when a message came that it has not read, and Unwanted when it is to stop."""

        async def claim() -> None:
            async with self._database.connection() as connection:
                if await leases.tell(connection, task.lease, self.owner, task.run.newest):
                    return
                tenant, conversation = task.caller.tenant, task.conversation.id
                stored = await runs.get_run(connection, tenant, conversation, task.run.id)
            mine = stored is not None and (stored.owner, stored.epoch) == (self.owner, task.run.epoch)
            if stored is None or not mine or stored.state.final:
                raise RunLost
            raise NewerMessage if stored.newest != task.run.newest else Unwanted

        await self._patiently(claim)

    async def _read_again(self, task: Task) -> Task:
        async def read() -> Task:
            async with self._database.connection() as connection:
                return await with_merged(connection, self._vault, task)

        return await self._patiently(read)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does it, again while PostgreSQL is away, for as long as storing an answer would be tried."""
        deadline = time.monotonic() + self.settings.settle_patience
        while True:
            try:
                return await work()
            except AppError as problem:
                if problem.code is not Code.UNAVAILABLE or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_POLL)

    async def _take_turn(self, active: _Active) -> Task | None:
        """Waits for messages to merge, and until no earlier run of the conversation is going on anywhere; what there is
        to answer then, or None when it was stopped before."""
        task = active.task
        if task.window:
            await within(active.stop, task.window)
        if active.previous is not None:
            active.acceptance.say()
            active.log.append(Queued(max(task.waits, 1)))
            await first_of(active.previous, active.stop)
        while not active.stop.is_set():
            started = await self._patiently(lambda: self._try_to_start(task))
            if isinstance(started, Task):
                return started
            if started is False:
                return None
            await within(active.stop, _POLL)
        return None

    async def _try_to_start(self, task: Task) -> Task | Literal[False] | None:
        """The started task, False when it may not be started any more, None while it is not its turn."""
        tenant, conversation = task.caller.tenant, task.conversation.id
        async with self._database.connection() as connection:
            going_on = await runs.active_runs(connection, tenant, conversation)
            if any(run.ordinal < task.run.ordinal for run in going_on):
                return None
            if not await runs.start_run(connection, task.lease, self.owner):
                return False
            return await with_merged(connection, self._vault, task)


async def _settled(work: Awaitable[object]) -> None:
    """Waits for work that its caller may have left; the caller that stayed gets the exception."""
    await asyncio.gather(work, return_exceptions=True)
