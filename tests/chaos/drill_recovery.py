"""A rehearsal of point-in-time recovery, as deploy/RESTORE.md describes it: base backup, archived WAL, a mistake, and
back to the moment before it. `make recovery-drill` runs it; `make test` does not.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from server.db.migrate import migrate
from server.db.pool import Database
from server.embedded.postgres import EmbeddedPostgres
from server.tenants import ensure_tenant
from tests.db.test_backup import AUDIT_KEY, keep_checkpoints
from tests.rpc.test_knowledge_commands import tria
from tests.support.audit_log import a_leaf, add, count, drained, sequencing
from tests.support.stores import eventually

pytestmark = pytest.mark.timeout(300)
MASTER = "test=" + base64.b64encode(b"k" * 32).decode()


def _given_to_postgres(path: Path) -> Path:
    """To the user that PostgreSQL runs as, where that is another one."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam("tria-postgres")
        for folder, _, names in os.walk(path):
            for each in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118  # as walk gives them
                os.chown(each, entry.pw_uid, entry.pw_gid)
    return path


async def _write(dsn: str, first: int, last: int) -> datetime:
    """Records `first` to `last` into the log; the database's time after their commit."""
    async with Database(dsn) as database, sequencing(dsn):
        await add(database, [a_leaf(number) for number in range(first, last)])
        await drained(database)
    connection = await asyncpg.connect(dsn)
    try:
        now: datetime = await connection.fetchval("select clock_timestamp()")
    finally:
        await connection.close()
    return now


async def _archived(dsn: str) -> None:
    """Ends the WAL segment and waits until it has left."""
    connection = await asyncpg.connect(dsn)
    try:
        wal = await connection.fetchval("select pg_walfile_name(pg_switch_wal())")

        async def left() -> bool:
            return bool(await connection.fetchval("select last_archived_wal >= $1 from pg_stat_archiver", wal))

        await eventually(left, within=60)
    finally:
        await connection.close()


def _recovered(base: Path, state: Path, archive: Path, until: datetime, password: Path) -> EmbeddedPostgres:
    """Steps 3 and 4 of deploy/RESTORE.md."""
    state.mkdir(mode=0o711)
    shutil.copytree(base, state / "data")
    (state / "data").chmod(0o700)
    (state / "data" / "recovery.signal").touch()
    shutil.copy(password, state / "password")
    _given_to_postgres(state / "data")
    settings = {
        "restore_command": f'cp "{archive}/%f" "%p"',
        "recovery_target_time": until.isoformat(),
        "recovery_target_action": "promote",
    }
    return EmbeddedPostgres(state, settings=settings)


async def _promoted(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        return not await connection.fetchval("select pg_is_in_recovery()")
    finally:
        await connection.close()


def _archiving(archive: Path) -> dict[str, str]:
    """The settings of deploy/RESTORE.md."""
    return {
        "wal_level": "replica",
        "archive_mode": "on",
        "archive_timeout": "60",
        "archive_command": f'test ! -f "{archive}/%f" && cp "%p" "{archive}/%f.part" && sync "{archive}/%f.part" '
        f'&& mv "{archive}/%f.part" "{archive}/%f"',
    }


async def _lived(dsn: str, environ: dict[str, str], folder: Path) -> datetime:
    """A base backup, more events, a mistake, more events, all of it archived; the moment before the mistake."""
    await migrate(dsn)
    async with Database(dsn) as database, database.transaction() as connection:
        await ensure_tenant(connection, "acme")
    await _write(dsn, 0, 300)
    code, _, errors = await tria("backup", folder / "base", "--base", environ=environ)
    assert code == 0, errors
    before_the_mistake = await _write(dsn, 300, 500) + timedelta(milliseconds=1)
    async with Database(dsn) as database:
        await keep_checkpoints(database, folder / "checkpoints.jsonl")
        async with database.connection() as connection:
            await connection.execute("select pg_sleep(0.05)")  # later than the target by PostgreSQL's own clock
            await connection.execute("delete from tenant")
    await _write(dsn, 500, 510)
    await _archived(dsn)
    return before_the_mistake


async def test_back_to_the_moment_before_a_mistake(stores_root: Path, tmp_path: Path) -> None:
    place = stores_root / "recovery"
    archive = place / "archive"
    archive.mkdir(parents=True)
    place.chmod(0o711)
    postgres = EmbeddedPostgres(place / "postgres", settings=_archiving(archive))
    dsn = await postgres.start()
    _given_to_postgres(archive)
    environ = {"TRIA_DATABASE_URL": dsn, "TRIA_AUDIT_KEY": AUDIT_KEY, "TRIA_MASTER_KEYS": MASTER}
    until = await _lived(dsn, environ, tmp_path)
    await postgres.stop()
    began = time.perf_counter()
    base, password = tmp_path / "base" / "base", place / "postgres" / "password"
    again = _recovered(base, place / "recovered", archive, until, password)
    recovered = await again.start()
    try:
        await eventually(lambda: _promoted(recovered), within=120)
        seconds = time.perf_counter() - began
        environ["TRIA_DATABASE_URL"] = recovered
        command = ("restore", tmp_path / "base", "--verify-only", "--checkpoints", tmp_path / "checkpoints.jsonl")
        code, output, errors = await tria(*command, "--json", environ=environ)
        assert code == 0, output + errors
        async with Database(recovered) as database:
            assert await count(database, "tenant") == 1, "the mistake was undone"
            assert await count(database, "audit_event") == 500
    finally:
        await again.stop()
    (log,) = json.loads(output)["logs"]
    assert (log["proven"], log["compared"], log["lost"]) == (500, 500, 0)
    print(f"\nrecovered to {until.isoformat()} in {seconds:.1f} s: 500 of 500 records proven", end=" ")  # noqa: T201  # the figures of the rehearsal
