"""What keeps a process's runs its own: leases renewed, orphans taken over, news of other processes heard.

Of a run that nobody has any more nothing may have been told: then it is begun anew here, in a new epoch, and its log
goes on. Otherwise it is ended as INTERRUPTED, once, and its followers are told by its log. Both shut the old owner out
of the log first; it may be slow and not dead.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time

from server.audit.recorder import AuditRecorder
from server.audit.sealing import Vault
from server.chat import leases, runs, shared_log
from server.chat.assistant import Step, Usage
from server.chat.events import Interrupted, WireEntry
from server.chat.leases import Leased
from server.chat.runlog import RunLog, RunLogs
from server.chat.runner import Runner
from server.chat.runs import Ending, RunState
from server.chat.settling import record_lost
from server.chat.shared_log import AWAY, SharedLog, Written
from server.chat.sharing import Sharing
from server.chat.task import recall
from server.db.listening import Listening
from server.db.pool import Database
from server.errors import AppError
from server.waiting import within

log = logging.getLogger(__name__)

_AT_ONCE = 20  # runs taken over in one go
_AGAIN = "thinking"  # the step that followers see when a run is begun anew


class Keeping:
    """Looks after the runs of one process, and after those that no process has."""

    def __init__(
        self,
        runner: Runner,
        database: Database,
        vault: Vault,
        audit: AuditRecorder,
        logs: RunLogs,
        store: SharedLog,
        sharing: Sharing,
    ) -> None:
        self._runner = runner
        self._database = database
        self._vault = vault
        self._audit = audit
        self._logs = logs
        self._store = store
        self._sharing = sharing
        self._reachable_since = time.monotonic()
        self._due = asyncio.Event()
        sharing.fenced = self._fenced

    async def keep_leases(self) -> None:
        """Renews the leases of the runs that are here and takes care of those that nobody has, until cancelled."""
        while True:
            self._due.clear()
            try:
                await self._look()
            except AppError as problem:
                # The pool says that PostgreSQL is away, and health shows it. Nobody could renew meanwhile, so nobody's
                # lease may be ended until everybody had the time to.
                self._reachable_since = time.monotonic()
                log.debug("leases not renewed", extra={"reason": problem.reason})
            pause = self._runner.settings.lease / 4 * random.uniform(0.8, 1.0)  # noqa: S311  # jitter between replicas
            await within(self._due, pause)

    async def keep_company(self) -> None:
        """Stops runs that nobody has followed anywhere for too long, until cancelled."""
        patience = self._runner.settings.alone
        while True:
            await asyncio.sleep(min(5.0, patience / 4))
            alone = self._runner.unfollowed(patience)
            if not alone:
                continue
            try:
                async with self._database.connection() as connection:
                    ids = await leases.alone(connection, self._runner.owner, [run.id for run in alone], patience)
            except AppError as problem:
                log.debug("lonely runs go on", extra={"reason": problem.reason})
                continue
            for run in alone:
                if run.id in ids:
                    log.info("run stopped: nobody follows it", extra={"run": run.name})
                    self._runner.cancel(run.tenant, run.name)

    def listening(self, dsn: str) -> Listening:
        """Hears of runs to stop and runs to take over."""
        return Listening(dsn, leases.CHANNEL, self._heard, self._due.set, name="tria-runs")

    def _heard(self, payload: str) -> None:
        what, _, rest = payload.partition(" ")
        if what == "released":
            self._due.set()
        elif what == "cancel":
            tenant, _, run = rest.partition(" ")
            self._runner.cancel(tenant, run)

    def _fenced(self, run_log: RunLog) -> None:
        """The log belongs to a newer epoch."""
        held = self._logs.get(run_log.tenant, run_log.run)
        if held is run_log:
            self._runner.let_go(run_log.tenant, run_log.run)

    async def _look(self) -> None:
        runner, settings = self._runner, self._runner.settings
        held = runner.held
        async with self._database.connection() as connection:
            renewed = await leases.renew(connection, runner.owner, settings.lease, held) if held else []
        for item in renewed:
            if item.stop:
                runner.cancel(item.lease.tenant, item.lease.name)
        await self._check(set(held) - {item.lease for item in renewed})
        # Who could not renew yet has its runs still; what was given away is to be had at once.
        orphans = time.monotonic() - self._reachable_since >= settings.lease
        async with self._database.transaction() as connection:
            lost = await leases.expire(connection) if orphans else []
            await record_lost(connection, self._audit.shown, lost)
            taken = (
                await leases.take_over(connection, runner.owner, settings.lease, _AT_ONCE, orphans=orphans)
                if not runner.draining
                else []
            )
        for lease in lost:
            log.warning("run interrupted", extra={"run": lease.name, "why": "nobody has it any more"})
            await self._close_log(lease)
        for lease in taken:
            await self._take_over(lease)
        if len(taken) == _AT_ONCE:
            self._due.set()  # there may be more

    async def _check(self, missing: set[Leased]) -> None:
        """Lets go of runs that have another owner; one that has just ended is nobody's loss."""
        for lease in missing & set(self._runner.held):
            async with self._database.connection() as connection:
                stored = await runs.get_run(connection, lease.tenant, lease.conversation, lease.id)
            if stored is None or (stored.owner, stored.epoch) != (self._runner.owner, lease.epoch):
                self._runner.let_go(lease.tenant, lease.name)

    async def _take_over(self, lease: Leased) -> None:
        """Begins a run anew, with the log that it had; without it, nobody knows what its followers have seen."""
        async with self._database.connection() as connection:
            task = await recall(connection, self._vault, lease)
        run_log = await self._reopened(lease, task.conversation.outlet, task.caller.person) if task else None
        if task is None or run_log is None or run_log.ended:
            log.warning("run interrupted", extra={"run": lease.name, "why": "its log is not to be had"})
            await self._interrupt(lease)
            return
        log.warning("run taken over", extra={"run": lease.name, "epoch": lease.epoch})
        run_log.append(Step(_AGAIN))
        self._runner.go_on(task, run_log)

    async def _interrupt(self, lease: Leased) -> None:
        async with self._database.transaction() as connection:
            ending = Ending(RunState.INTERRUPTED, 0, Usage())
            if await runs.end_run(connection, lease, self._runner.owner, ending):
                await record_lost(connection, self._audit.shown, [lease])
        if held := self._logs.get(lease.tenant, lease.name):
            self._logs.drop(held)
        await self._close_log(lease)

    async def _close_log(self, lease: Leased) -> None:
        """Tells the followers of a run, wherever they are, that it was interrupted; the database says so already."""
        async with self._database.connection() as connection:
            whose = await runs.whose(connection, lease)
        run_log = await self._reopened(lease, *whose) if whose else None
        if run_log is None:
            return
        if not run_log.ended:
            run_log.append(Interrupted(retryable=True))
        self._logs.close(run_log)
        async with self._database.connection() as connection:
            await leases.set_last_seq(connection, lease, run_log.last_seq)

    async def _reopened(self, lease: Leased, outlet: str, person: str) -> RunLog | None:
        """The log of a run that was another's, shut for that one; None when it is not to be had."""
        try:
            written, last = await self._store.claim(lease.tenant, lease.name, lease.epoch)
            news = await self._store.read(lease.tenant, lease.name) if written is Written.DONE else None
        except AWAY as problem:
            log.warning("log not taken over: %s", type(problem).__name__, extra={"run": lease.name})
            return None
        if news is None:
            log.info("no log to take over: %s", written.name, extra={"run": lease.name})
            return None
        async with self._database.connection() as connection:
            keys = await self._vault.keys_of(connection, lease.tenant, [event.box for event in news.events])
        entries = []
        for event in news.events:
            wire = keys.content(event.box, *shared_log.place(lease.name, event.seq))
            if wire is None:
                return None
            entries.append(WireEntry(event.seq, wire, event.epoch, event.terminal))
        run_log = self._logs.open(lease.name, lease.tenant, outlet, person, lease.epoch)
        run_log.adopt(entries)
        if run_log.last_seq != last or not run_log.reaches_back_to(0):
            self._logs.drop(run_log)
            return None
        self._sharing.continued(run_log, last)
        return run_log
