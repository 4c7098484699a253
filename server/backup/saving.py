"""`tria backup`: a copy of the database of one moment, and what it must still hold when it is restored.

PostgreSQL is all there is to save. Chroma's vectors are made anew from the documents in it (the worker notices that
they are missing), and Redis holds limits, kept answers and the logs of runs, none of which must survive.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from server.backup import manifest, moment, pgtools
from server.backup.draft import drafted
from server.backup.manifest import BASE, DUMP, FileSum, Manifest, Mode
from server.backup.moment import Moment
from server.backup.pgtools import Target, Tool
from server.signing import SigningKey

Tell = Callable[[str, int, int], None]
"""Hears the step, how far it is, and how far it goes (0: unknown)."""


class NothingToSave(Exception):
    """No release has run on this database: it is empty, or its first migrations have not come to their end."""


class NotOurs(Exception):
    """The database holds something, and never had a migration of TRIA."""


_BASE_MANIFEST = "backup_manifest"  # PostgreSQL's own: sizes and hashes of all files of a base backup


@dataclass(frozen=True, slots=True)
class Saving:
    """How backups of one database are made. `homes` are PostgreSQL installations to look for programs in;
    `secrets` are fingerprints for the manifest."""

    dsn: str
    key: SigningKey
    version: str
    homes: Sequence[Path]
    tell: Tell
    secrets: Mapping[str, str] = field(default_factory=dict)

    async def dump(self, path: Path) -> Manifest:
        """A dump in PostgreSQL's custom format. Raises NothingToSave, NotOurs, ToolMissing, ToolFailed, OSError,
        PostgresError."""
        with drafted(path) as draft:
            async with moment.moment(self.dsn) as at:
                await _look_for_tables(at)
                tool = await pgtools.fitting("pg_dump", at.server.major, self.homes)
                total = len(await moment.tables_of(at.connection))
                await self._pg_dump(tool, draft, at, total)
                tables = await moment.count_rows(at.connection, lambda done, of: self.tell("counting rows", done, of))
                files = {DUMP: await self._summed(draft / DUMP)}
                made = await self._manifest(Mode.DUMP, at, tool, tables, files)
            await asyncio.to_thread(manifest.write, draft, made, self.key)
        return made

    async def base(self, path: Path) -> Manifest:
        """A copy of the whole server's files with the log that makes them consistent: what point-in-time recovery
        begins with. The logs of the manifest are those before it, so that recovery has at least them. Raises as
        `dump` does."""
        with drafted(path) as draft:
            async with moment.moment(self.dsn) as at:
                await _look_for_tables(at)
                tool = await pgtools.fitting("pg_basebackup", at.server.major, self.homes)
                if tool.major != at.server.major:
                    raise pgtools.ToolMissing(
                        f"a base backup needs pg_basebackup {at.server.major}, {tool.path} is {tool.version}"
                    )
                made = await self._manifest(Mode.BASE, at, tool, {}, {})
            await self._pg_basebackup(tool, draft)
            verified = await self._pg_verifybackup(tool, draft)
            files = {f"{BASE}/{_BASE_MANIFEST}": await self._summed(draft / BASE / _BASE_MANIFEST)}
            made = replace(made, files=files, verified=verified)
            await asyncio.to_thread(manifest.write, draft, made, self.key)
        return made

    async def _pg_dump(self, tool: Tool, draft: Path, at: Moment, total: int) -> None:
        target, done = Target.of(self.dsn), 0

        def heard(line: str) -> None:
            nonlocal done
            if "dumping contents of table" in line:
                done += 1
                self.tell("dumping tables", min(done, total), total)

        arguments = ["--format=custom", "--verbose", "--no-password", f"--snapshot={at.id}", f"--dbname={target.url}"]
        await pgtools.run(tool, [*arguments, f"--file={draft / DUMP}"], target, heard)
        self.tell("dumping tables", total, total)

    async def _pg_basebackup(self, tool: Tool, draft: Path) -> None:
        target = Target.of(self.dsn)
        self.tell("copying the server", 0, 0)
        arguments = [
            f"--pgdata={draft / BASE}", "--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256",
            "--no-password", "--verbose", f"--dbname={target.url}",
        ]  # fmt: skip
        await pgtools.run(tool, arguments, target, lambda _: None)

    async def _pg_verifybackup(self, made_by: Tool, draft: Path) -> str:
        """By what the copy was read again and compared; empty when the program of this version is not there, or lacks
        what it needs to read the log. Raises ToolFailed when the copy is not whole."""
        try:
            tool = await pgtools.fitting("pg_verifybackup", made_by.major, self.homes)
        except pgtools.ToolMissing:
            return ""
        if tool.major != made_by.major or not tool.path.resolve().with_name("pg_waldump").exists():
            return ""
        self.tell("verifying the copy", 0, 0)
        await pgtools.run(tool, [draft / BASE], Target.of(self.dsn), lambda _: None)
        return f"{tool.path.name} {tool.version}"

    async def _summed(self, path: Path) -> FileSum:
        return await asyncio.to_thread(manifest.sum_of, path, lambda done: self.tell("hashing", done, 0))

    async def _manifest(
        self, mode: Mode, at: Moment, tool: Tool, tables: Mapping[str, int], files: Mapping[str, FileSum]
    ) -> Manifest:
        connection = at.connection
        wrapped = await moment.wrapped_keys(connection)
        return Manifest(
            mode=mode,
            created_at=at.server.now,
            tria=self.version,
            server=at.server.version,
            server_major=at.server.major,
            tool=f"{tool.path.name} {tool.version}",
            migration=await moment.migration_of(connection),
            database_bytes=at.server.database_bytes,
            master_keys=sorted(wrapped),
            pending=await moment.pending_of(connection),
            logs=await moment.logs_of(connection),
            tables=tables,
            files=files,
            sealed={
                master: (tenant, str(id), base64.b64encode(box).decode())
                for master, (tenant, id, box) in wrapped.items()
            },
            secrets=self.secrets,
        )


async def _look_for_tables(at: Moment) -> None:
    missing = await moment.missing_of(at.connection)
    if not missing:
        return
    there = await moment.tables_of(at.connection)
    if not there:
        raise NothingToSave("the database is empty: there is nothing to save")
    if "schema_migration" in missing:
        raise NotOurs(f"this is no database of TRIA: it has {', '.join(there[:3])} and no schema_migration")
    raise NothingToSave(
        f"the first migrations have not come to their end ({', '.join(missing)} missing): no release "
        "has run here, and there is nothing to save"
    )
