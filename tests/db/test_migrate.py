"""Migrations against a real PostgreSQL: who applies, what is refused, and when the program may be rolled back."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest
from pgqueuer import PgQueuer
from pgqueuer.adapters.persistence.schema_ddl import render_install
from pgqueuer.domain.settings import DBSettings

from server.db.migrate import MIGRATIONS, MigrationError, load, migrate, pending, schema_version

FIRST = "-- migrate: additive\ncreate table thing (id int);"
INDEX = """-- migrate: additive no-transaction
create index concurrently thing_id on thing (id);
-- next
analyze thing;"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_thing.sql").write_text(FIRST)
    return tmp_path


async def run(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(sql)
    await connection.close()


async def value(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    found = await connection.fetchval(sql)
    await connection.close()
    return found


async def test_the_real_migrations_apply_and_satisfy_pgqueuer(empty_dsn: str) -> None:
    told: list[str] = []
    names = [migration.name for migration in load(MIGRATIONS)]
    assert await pending(empty_dsn) == names
    assert await migrate(empty_dsn, progress=told.append) == names == told
    assert await migrate(empty_dsn) == await pending(empty_dsn) == []
    assert await schema_version(empty_dsn) == load(MIGRATIONS)[-1].version
    async with asyncpg.create_pool(empty_dsn, min_size=2, max_size=2) as pool:
        await PgQueuer.from_asyncpg_pool(pool).qm.verify_structure()


def test_the_job_tables_are_those_of_the_installed_pgqueuer() -> None:
    assert render_install(DBSettings()).strip() in (MIGRATIONS / "0002_jobs.sql").read_text()


async def test_six_at_once_apply_once_also_with_an_index_built_concurrently(empty_dsn: str, folder: Path) -> None:
    (folder / "0002_index.sql").write_text(INDEX)
    results = await asyncio.gather(*(migrate(empty_dsn, folder) for _ in range(6)))
    assert sorted(results, key=len) == [[]] * 5 + [["0001_thing.sql", "0002_index.sql"]]
    assert await value(empty_dsn, "select indisvalid from pg_index where indexrelid = 'thing_id'::regclass")


async def test_a_failing_file_leaves_nothing_of_itself_and_what_came_before_stays(empty_dsn: str, folder: Path) -> None:
    (folder / "0002_broken.sql").write_text("create table half (id int);\nselect no_such_function();")
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await migrate(empty_dsn, folder)
    assert await schema_version(empty_dsn) == 1
    assert await value(empty_dsn, "select to_regclass('half')") is None


async def test_an_interrupted_file_without_transaction_needs_a_person(empty_dsn: str, folder: Path) -> None:
    broken = "-- migrate: additive no-transaction\nselect 1;\n-- next\nselect 1 / 0;"
    (folder / "0002_broken.sql").write_text(broken)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_dsn, folder)
    with pytest.raises(MigrationError, match=r"0002_broken.sql.*dirty = false"):
        await migrate(empty_dsn, folder)
    await run(empty_dsn, "update schema_migration set dirty = false")
    assert await migrate(empty_dsn, folder) == []


async def test_an_applied_file_must_not_be_edited_but_may_have_other_line_ends(empty_dsn: str, folder: Path) -> None:
    await migrate(empty_dsn, folder)
    path = folder / "0001_thing.sql"
    path.write_bytes(FIRST.replace("\n", "\r\n").encode())
    assert await migrate(empty_dsn, folder) == []
    path.write_text(FIRST + "\n-- one word more")
    for attempt in (migrate, pending):
        with pytest.raises(MigrationError, match="edited"):
            await attempt(empty_dsn, folder)


async def test_a_file_that_comes_late_is_refused(empty_dsn: str, folder: Path) -> None:
    (folder / "0003_late.sql").write_text("select 1;")
    await migrate(empty_dsn, folder)
    (folder / "0002_later.sql").write_text("select 1;")
    with pytest.raises(MigrationError, match=r"0002_later\.sql is older"):
        await migrate(empty_dsn, folder)


@pytest.mark.parametrize(
    ("header", "tolerated"),
    [("-- migrate: additive\n", True), ("-- migrate: breaking\n", False), ("", False)],
)
async def test_the_program_can_be_rolled_back_over_additive_migrations_only(
    empty_dsn: str, folder: Path, tmp_path_factory: pytest.TempPathFactory, header: str, tolerated: bool
) -> None:
    newer = tmp_path_factory.mktemp("newer")
    shutil.copy(folder / "0001_thing.sql", newer)
    (newer / "0002_next.sql").write_text(header + "alter table thing add column note text;")
    await migrate(empty_dsn, newer)
    if tolerated:
        assert await migrate(empty_dsn, folder) == await pending(empty_dsn, folder) == []
        assert await schema_version(empty_dsn) == 2
    else:
        with pytest.raises(MigrationError, match=r"ahead of this program by \['0002_next.sql'\]"):
            await migrate(empty_dsn, folder)


async def test_a_table_lock_is_not_queued_for_longer_than_the_lock_timeout(empty_dsn: str, folder: Path) -> None:
    await migrate(empty_dsn, folder)
    (folder / "0002_alter.sql").write_text("alter table thing add column note text;")
    reader = await asyncpg.connect(empty_dsn)
    async with reader.transaction():
        await reader.execute("select * from thing")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await migrate(empty_dsn, folder, lock_timeout=0.1)
    await reader.close()
    assert await migrate(empty_dsn, folder) == ["0002_alter.sql"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("2_short.sql", "", "NNNN_lower_case"),
        ("0002_Upper.sql", "", "NNNN_lower_case"),
        ("0001_twice.sql", "", "used twice"),
        ("0002_header.sql", "-- migrate: additve\n", "first line"),
        ("0002_both.sql", "-- migrate: additive breaking\n", "first line"),
    ],
)
def test_a_malformed_folder_is_refused(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(MigrationError, match=said):
        load(folder)
