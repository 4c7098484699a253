"""`tria restore`: a dump into an empty database, brought to this release's schema, and its audit log proven.

The dump is restored in one transaction: when it fails the database is as empty as it was. What goes wrong afterwards
leaves a full database that is not proven and must be dropped; `restore_into` does that by itself, and gives the
database its name only when it is proven.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

import asyncpg

from server.audit.actions import Action
from server.audit.changes import operator
from server.audit.checkpoint import Checkpoint
from server.audit.leaf import Plain
from server.audit.sealing import opens
from server.backup import manifest, moment, pgtools
from server.backup.fingerprints import differences
from server.backup.manifest import DUMP, BadBackup, Manifest, Mode
from server.backup.pgtools import Target
from server.backup.proof import LogBroken, LogProof, LogProofs
from server.backup.saving import Tell
from server.db.migrate import migrate
from server.db.pool import Database, PoolSettings
from server.envelope import MasterKeys
from server.signing import PublicKey

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,54}")  # with the ending below at most the 63 bytes of PostgreSQL
_PARTIAL = "_partial"
_DROP_IT = "; the database holds the dump and is NOT proven: drop it before another attempt, and let nobody use it"


class Refused(Exception):
    """The restore was not begun, and nothing was changed; the message says why."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore came to. Times are seconds."""

    manifest: Manifest
    migrated: Sequence[str]
    logs: Sequence[LogProof]
    ended_at: datetime
    seconds: Mapping[str, float]

    @property
    def lost(self) -> int:
        """Audit records that are known to have been lost; others may have been, that no kept checkpoint covers."""
        return sum(log.lost for log in self.logs)


@dataclass(frozen=True, slots=True)
class Restoring:
    """How a backup becomes a database again. `keys` may sign the logs, `masters` open what is sealed;
    `secrets` are fingerprints of what finds people, which must be those of the backup (None: whatever they are)."""

    dsn: str
    keys: Sequence[PublicKey]
    masters: MasterKeys
    homes: Sequence[Path]
    tell: Tell
    secrets: Mapping[str, str] | None = None

    async def restore(self, folder: Path, kept: Mapping[str, Sequence[Checkpoint]]) -> Restored:
        """All of it. Raises Refused and BadBackup before anything is changed, ToolFailed with the database empty, and
        LogBroken when the restored log is not what was signed. Whatever is raised once the database is full has a note
        that says to drop it."""
        took: dict[str, float] = {}
        with _timed(took, "checking"):
            made = await self._checked(folder)
            await self.fits(made)
        try:
            return await self.fill(folder, made, kept, took)
        except BaseException as error:  # also when interrupted: whoever reads it must be told what is left behind
            if "restoring" in took:
                error.add_note(_DROP_IT)
            raise

    async def restore_into(self, name: str, folder: Path, kept: Mapping[str, Sequence[Checkpoint]]) -> Restored:
        """The same into a new database on the same server, which is made when the backup is whole, has that name when
        it is proven, and is dropped when it is not. A kill leaves NAME_partial."""
        took: dict[str, float] = {}
        with _timed(took, "checking"):
            made = await self._checked(folder)
            aside = await self._created(name)
        try:
            await aside.fits(made)
            restored = await aside.fill(folder, made, kept, took)
            async with moment.session(self.dsn) as connection:
                await connection.execute(f'alter database "{name}{_PARTIAL}" rename to "{name}"')
        except BaseException as error:  # also when cancelled: nobody shall take it for a restored one
            try:
                async with moment.session(self.dsn) as connection:
                    await connection.execute(f'drop database if exists "{name}{_PARTIAL}" with (force)')
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                error.add_note(f"; {name}{_PARTIAL} could not be dropped and is NOT proven: drop it")
            raise
        return restored

    async def fill(
        self, folder: Path, made: Manifest, kept: Mapping[str, Sequence[Checkpoint]], took: dict[str, float]
    ) -> Restored:
        """Fills an empty database from a backup that was checked; notes each step that is done in `took`."""
        with _timed(took, "restoring"):
            await self._pg_restore(folder, made)
        with _timed(took, "counting"):
            await self._compare_counts(made)
        with _timed(took, "migrating"):
            migrated = await migrate(self.dsn, progress=lambda name: self.tell(f"migrating: {name}", 0, 0))
        with _timed(took, "verifying"):
            logs = await self.verify(made, kept)
        restored = Restored(made, migrated, logs, await self._now(), took)
        await self._record(restored)
        return restored

    async def verify(self, made: Manifest, kept: Mapping[str, Sequence[Checkpoint]]) -> Sequence[LogProof]:
        """Proves the logs of a database that stems from the backup, and that its sealed fields open. Raises
        LogBroken."""
        async with moment.session(self.dsn) as connection:
            for master, (tenant, id, box) in (await moment.wrapped_keys(connection)).items():
                if not opens(self.masters, tenant, id, box):
                    raise LogBroken(f"the keys of people do not open: {master} of TRIA_MASTER_KEYS is another key")
        settings = PoolSettings(min_size=1, max_size=2, application_name="tria-restore")
        async with Database(self.dsn, settings) as database:
            return await LogProofs(database, self.keys, self.tell).prove(made.logs, kept)

    async def only_verify(self, folder: Path, kept: Mapping[str, Sequence[Checkpoint]]) -> Restored:
        """What is proven of a database that was recovered from a backup by other means, a base backup for one."""
        took: dict[str, float] = {}
        with _timed(took, "verifying"):
            made = await asyncio.to_thread(manifest.read, folder, self.keys)
            self._know(made)
            logs = await self.verify(made, kept)
        return Restored(made, (), logs, await self._now(), took)

    async def _record(self, restored: Restored) -> None:
        """Has each log say that it was restored, in the place where the lost records would be."""
        settings = PoolSettings(min_size=1, max_size=1, application_name="tria-restore")
        async with Database(self.dsn, settings) as database, database.transaction() as connection:
            for log in restored.logs:
                details: dict[str, Plain] = {
                    "command": "restore",
                    "backup_time": restored.manifest.created_at.isoformat(),
                    "records": log.size,
                    "lost_at_least": log.lost,
                }
                await operator(log.tenant).record(connection, Action.ADMIN_COMMAND, (), details)

    async def _created(self, name: str) -> Restoring:
        """The same into a new, empty database on the same server that is called NAME_partial for now. Raises
        Refused."""
        if not _NAME.fullmatch(name):
            raise Refused(f"{name!r} is no name for a database: at most 55 small letters, digits and _")
        partial = name + _PARTIAL
        async with moment.session(self.dsn) as connection:
            if await moment.database_exists(connection, name):
                raise Refused(f"the database {name} is there already; its contents are not touched")
            try:
                await connection.execute(f'create database "{partial}" template template0')
            except asyncpg.DuplicateDatabaseError as there:
                raise Refused(f"{partial} is there already: a restore is under way, or was killed (drop it)") from there
        return replace(self, dsn=pgtools.other_database(self.dsn, partial))

    async def _checked(self, folder: Path) -> Manifest:
        made = await asyncio.to_thread(manifest.read, folder, self.keys)
        if made.mode is not Mode.DUMP:
            raise Refused("this is a base backup: PostgreSQL is started on a copy of it, see deploy/RESTORE.md")
        if missing := sorted(set(made.master_keys) - self.masters.ids):
            raise Refused(f"TRIA_MASTER_KEYS lacks {', '.join(missing)}: what people wrote could not be read")
        for master, (tenant, id, box) in made.sealed.items():
            if not opens(self.masters, tenant, UUID(id), base64.b64decode(box)):
                raise Refused(f"the keys of people do not open: {master} of TRIA_MASTER_KEYS is another key")
        self._know(made)
        total = sum(file.bytes for file in made.files.values())
        await asyncio.to_thread(
            manifest.check_files, folder, made, lambda done: self.tell("comparing hashes", done, total)
        )
        return made

    def _know(self, made: Manifest) -> None:
        if self.secrets is not None and (wrong := differences(made.secrets, self.secrets)):
            raise Refused(
                f"{'; '.join(wrong)}: people in the backup would not be found again (--other-secrets restores it so)"
            )

    async def fits(self, made: Manifest) -> None:
        """Raises Refused when the server is too old or the database is not empty."""
        async with moment.session(self.dsn) as connection:
            server = await moment.server_of(connection)
            if server.major < made.server_major:
                raise Refused(f"the dump is of PostgreSQL {made.server}, this server is {server.version}: too old")
            if found := await moment.occupied_by(connection):
                raise Refused(
                    f"the database is not empty, it holds {', '.join(found)}, …: restore into an empty one (--into "
                    "NAME makes one on the same server)"
                )

    async def _now(self) -> datetime:
        async with moment.session(self.dsn) as connection:
            return (await moment.server_of(connection)).now

    async def _pg_restore(self, folder: Path, made: Manifest) -> None:
        async with moment.session(self.dsn) as connection:
            server = await moment.server_of(connection)
        tool = await pgtools.fitting("pg_restore", max(server.major, made.server_major), self.homes)
        target, done, total = Target.of(self.dsn), 0, len(made.tables)

        def heard(line: str) -> None:
            nonlocal done
            if "processing data for table" in line:
                done += 1
                self.tell("restoring tables", min(done, total), total)
            elif "creating INDEX" in line or "creating CONSTRAINT" in line:
                self.tell("making indexes", 0, 0)

        arguments: list[str | Path] = [
            "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password", "--verbose",
            f"--dbname={target.url}", folder / DUMP,
        ]  # fmt: skip
        await pgtools.run(tool, arguments, target, heard)

    async def _compare_counts(self, made: Manifest) -> None:
        async with moment.session(self.dsn) as connection:
            found = await moment.count_rows(connection, lambda done, of: self.tell("counting rows", done, of))
        if wrong := sorted(name for name in {*made.tables, *found} if made.tables.get(name) != found.get(name)):
            raise BadBackup(
                f"{wrong[0]} has {found.get(wrong[0])} rows, {made.tables.get(wrong[0])} were dumped "
                f"({len(wrong)} tables differ)"
            )


@contextmanager
def _timed(took: dict[str, float], step: str) -> Iterator[None]:
    """Notes how long its block took."""
    began = time.perf_counter()
    yield
    took[step] = round(time.perf_counter() - began, 3)
