"""`tria backup` and `tria restore` as programs: what comes back, and what is refused with a reason."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from click.testing import CliRunner

from server.audit.sinks import FileSink
from server.audit.tree_store import latest_checkpoint
from server.backup.draft import drafted
from server.backup.pgtools import Target, ToolFailed, other_database
from server.cli import main
from server.db.pool import Database
from server.tenants import ensure_tenant
from tests.support.audit_log import KEY, a_leaf, add, drained, sequencing
from tests.support.stores import _own_database
from tests.support.vaults import a_vault

AUDIT_KEY = f"{KEY.name}={base64.b64encode(KEY.seed).decode()}"
MASTER = "test=" + base64.b64encode(b"k" * 32).decode()  # of tests/support/vaults.py

PSEUDONYMS = "2=" + base64.b64encode(b"p" * 32).decode()


@dataclass(frozen=True, slots=True)
class Backups:
    """A database with two logs of 700 and 3 records and something sealed, a backup of it, and its checkpoints."""

    environ: dict[str, str]
    folder: Path
    kept: Path
    database: Database

    async def restore(self, *arguments: str | Path, **variables: str) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON answer, what else was said."""
        command = ("restore", self.folder, *arguments, "--json")
        code, output, errors = await tria(*command, environ=self.environ | variables)
        return code, json.loads(output) if output.startswith("{") else {}, errors


async def tria(*arguments: str | Path, environ: Mapping[str, str]) -> tuple[int, str, str]:
    """The command in a thread, as it runs a loop: exit code, standard output, standard error."""
    done = await asyncio.to_thread(CliRunner().invoke, main, [str(each) for each in arguments], env=environ)
    return done.exit_code, done.stdout, done.stderr


async def keep_checkpoints(database: Database, path: Path) -> None:
    """What the courier would have sent out by now."""
    async with database.connection() as connection:
        heads = [await latest_checkpoint(connection, tenant) for tenant in ("acme", "globex", "initech")]
    await FileSink(path).push([head for head in heads if head is not None])


@pytest_asyncio.fixture
async def backups(dsn: str, database: Database, tmp_path: Path) -> AsyncIterator[Backups]:
    vault = a_vault()
    async with database.transaction() as connection:
        for tenant in ("acme", "globex"):
            await ensure_tenant(connection, tenant)
        await vault.key_for(connection, "acme", "somebody")
    async with sequencing(dsn):
        await add(database, [a_leaf(number) for number in range(700)])
        await add(database, [a_leaf(number, "globex") for number in range(3)])
        await drained(database)
    kept = tmp_path / "checkpoints.jsonl"
    await keep_checkpoints(database, kept)
    await add(database, [a_leaf(number) for number in range(700, 705)])  # no place yet
    environ = {
        "TRIA_DATABASE_URL": dsn, "TRIA_AUDIT_KEY": AUDIT_KEY, "TRIA_MASTER_KEYS": MASTER,
        "TRIA_STATE_SECRET": "s" * 40, "TRIA_PSEUDONYM_KEYS": PSEUDONYMS,
    }  # fmt: skip
    folder = tmp_path / "backup"
    code, output, errors = await tria("backup", folder, environ=environ)
    assert code == 0, errors
    assert "acme: 700 records, 700 of them under a checkpoint" in output
    assert "5 more wait for their place" in output
    yield Backups(environ, folder, kept, database)


async def test_what_was_backed_up_comes_back(backups: Backups, empty_dsn: str, dsn: str) -> None:
    manifest = json.loads((backups.folder / "manifest.json").read_bytes())
    assert sorted(path.name for path in backups.folder.iterdir()) == ["database.dump", "manifest.json", "manifest.note"]
    assert manifest["tables"]["public.audit_pending"] == 5
    assert {tenant: log["size"] for tenant, log in manifest["logs"].items()} == {"acme": 700, "globex": 3}
    code, found, errors = await backups.restore("--checkpoints", backups.kept, TRIA_DATABASE_URL=empty_dsn)
    assert code == 0, errors
    assert [(log["tenant"], log["proven"], log["compared"], log["lost"]) for log in found["logs"]] == [
        ("acme", 700, 700, 0),
        ("globex", 3, 3, 0),
    ]
    assert found["lost_at_least"] == 0
    assert await _same_rows(dsn, empty_dsn, except_for={"public.audit_pending", "public.schema_migration"})
    async with Database(empty_dsn) as restored, sequencing(empty_dsn):
        await drained(restored)
        async with restored.connection() as connection:
            last = await connection.fetchrow("select * from audit_event where tenant = 'acme' order by seq desc")
    assert last is not None
    assert (last["seq"], last["action"]) == (705, "ADMIN_COMMAND"), "the log says that it was restored"


async def _same_rows(dsn: str, other: str, except_for: set[str]) -> bool:
    """Whether two databases hold the same rows, table by table."""
    first, second = await asyncpg.connect(dsn), await asyncpg.connect(other)
    try:
        names = [
            row["name"]
            for row in await first.fetch(
                "select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'public'"
            )
        ]
        assert len(names) > 30
        hashed = "select md5(coalesce(string_agg(md5(t::text), '' order by md5(t::text)), '')) from {} as t"
        for name in set(names) - except_for:
            sql = hashed.format(name)
            assert await first.fetchval(sql) == await second.fetchval(sql), name
    finally:
        await first.close()
        await second.close()
    return True


async def test_records_after_the_backup_are_counted_as_lost(backups: Backups, dsn: str, empty_dsn: str) -> None:
    async with sequencing(dsn):
        await add(backups.database, [a_leaf(number, "initech") for number in range(2)])  # a log that is wholly lost
        await drained(backups.database)
    await keep_checkpoints(backups.database, backups.kept)
    code, found, errors = await backups.restore("--checkpoints", backups.kept, TRIA_DATABASE_URL=empty_dsn)
    assert code == 0, errors
    assert {log["tenant"]: log["lost"] for log in found["logs"]} == {"acme": 5, "globex": 0, "initech": 2}
    verified = await tria(
        "restore", backups.folder, "--verify-only", "--checkpoints", backups.kept,
        environ=backups.environ | {"TRIA_DATABASE_URL": empty_dsn},
    )  # fmt: skip
    assert verified[0] == 0, verified[2]
    assert "acme: records 700 to 704 were signed and are gone" in verified[1]


async def test_a_new_database_is_made_when_asked_for(backups: Backups, dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        code, found, errors = await backups.restore("--into", "tria_restored")
        assert code == 0, errors
        assert found["logs"][0]["proven"] == 700
        made = await asyncpg.connect(other_database(dsn, "tria_restored"))
        assert await made.fetchval("select count(*) from audit_event") == 703
        await made.close()
        code, found, _ = await backups.restore("--into", "tria_restored")
        assert (code, "is there already" in found["error"]) == (1, True)
    finally:
        await connection.execute("drop database if exists tria_restored with (force)")
        await connection.close()


async def test_a_database_that_holds_something_is_left_alone(backups: Backups, empty_dsn: str) -> None:
    code, found, _ = await backups.restore()
    assert code == 1
    assert "the database is not empty" in found["error"]
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute("create table mine (a int)")
    await connection.close()
    code, found, _ = await backups.restore(TRIA_DATABASE_URL=empty_dsn)
    assert code == 1
    assert "public.mine" in found["error"]


def _tamper(folder: Path) -> str:
    path = folder / "database.dump"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return "its SHA-256 differs"


def _truncate(folder: Path) -> str:
    path = folder / "database.dump"
    path.write_bytes(path.read_bytes()[:-1])
    return "bytes and was made with"


def _lose_the_dump(folder: Path) -> str:
    (folder / "database.dump").unlink()
    return "database.dump is missing"


def _change_the_manifest(folder: Path) -> str:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"acme"', b'"acne"', 1))
    return "is not the one that was signed"


def _half_a_backup(folder: Path) -> str:
    (folder / "manifest.note").unlink()
    return "is no whole backup: manifest.note is missing"


DAMAGES = (_tamper, _truncate, _lose_the_dump, _change_the_manifest, _half_a_backup)


async def test_a_damaged_backup_changes_nothing(backups: Backups, empty_dsn: str, tmp_path: Path) -> None:
    for damage in DAMAGES:
        damaged = replace(backups, folder=tmp_path / damage.__name__)
        shutil.copytree(backups.folder, damaged.folder)
        expected = damage(damaged.folder)
        code, found, _ = await damaged.restore(TRIA_DATABASE_URL=empty_dsn)
        assert (code, expected in found["error"]) == (1, True), found
        assert await _tables(empty_dsn) == 0
    code, found, _ = await damaged.restore("--into", "never_made")
    assert code == 1
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(other_database(empty_dsn, "never_made"))


async def _tables(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        count: int = await connection.fetchval("select count(*) from pg_tables where schemaname = 'public'")
    finally:
        await connection.close()
    return count


async def test_wrong_keys_are_refused(backups: Backups, empty_dsn: str) -> None:
    other = base64.b64encode(b"x" * 32).decode()
    code, found, _ = await backups.restore(TRIA_DATABASE_URL=empty_dsn, TRIA_AUDIT_KEY=f"tria-test={other}")
    assert (code, "is not signed by" in found["error"]) == (1, True)
    code, found, _ = await backups.restore(TRIA_DATABASE_URL=empty_dsn, TRIA_MASTER_KEYS=f"other={other}")
    assert (code, "TRIA_MASTER_KEYS lacks test" in found["error"]) == (1, True)
    assert await _tables(empty_dsn) == 0
    code, found, _ = await backups.restore(TRIA_DATABASE_URL=empty_dsn, TRIA_MASTER_KEYS=f"test={other}")
    assert (code, "do not open" in found["error"]) == (1, True)
    assert await _tables(empty_dsn) == 0


async def test_secrets_that_find_people_are_compared(backups: Backups, empty_dsn: str, dsn: str) -> None:
    other = base64.b64encode(b"q" * 32).decode()
    for variables, said in (
        ({"TRIA_STATE_SECRET": "t" * 40}, "TRIA_STATE_SECRET is another one:"),
        ({"TRIA_STATE_SECRET": ""}, "TRIA_STATE_SECRET is not set:"),
        ({"TRIA_PSEUDONYM_KEYS": ""}, "TRIA_PSEUDONYM_KEYS 2 is not set:"),
        ({"TRIA_PSEUDONYM_KEYS": f"2={other}"}, "TRIA_PSEUDONYM_KEYS 2 is another one:"),
    ):
        code, found, _ = await backups.restore(TRIA_DATABASE_URL=empty_dsn, **variables)
        assert (code, found["error"].startswith(said)) == (1, True), found
        code, found, _ = await backups.restore("--verify-only", **variables)
        assert (code, found["error"].startswith(said)) == (1, True), found
    assert await _tables(empty_dsn) == 0
    more = f"{PSEUDONYMS},3={other}"  # a key that came since
    code, found, errors = await backups.restore("--verify-only", TRIA_PSEUDONYM_KEYS=more)
    assert code == 0, (found, errors)
    lost = {"TRIA_STATE_SECRET": "t" * 40, "TRIA_PSEUDONYM_KEYS": ""}
    code, found, errors = await backups.restore("--other-secrets", TRIA_DATABASE_URL=empty_dsn, **lost)
    assert code == 0, (found, errors)


async def test_fingerprints_tell_no_secret(backups: Backups, tmp_path: Path) -> None:
    text = (backups.folder / "manifest.json").read_text()
    assert set(json.loads(text)["secrets"]) == {"TRIA_STATE_SECRET", "TRIA_PSEUDONYM_KEYS 2"}
    for value in ("s" * 40, PSEUDONYMS.partition("=")[2], MASTER.partition("=")[2], b"p" * 32):
        spelled = value if isinstance(value, str) else value.hex()
        assert spelled not in text
    environ = backups.environ | {"TRIA_STATE_SECRET": "", "TRIA_PSEUDONYM_KEYS": ""}
    code, output, errors = await tria("backup", tmp_path / "without", environ=environ)
    assert code == 0, errors
    assert "TRIA_STATE_SECRET is not set here" in output
    code, found, _ = await tria("restore", tmp_path / "without", "--verify-only", "--json", environ=backups.environ)
    assert code == 0, found


async def test_a_log_that_was_changed_before_the_backup_is_not_proven(
    backups: Backups, dsn: str, postgres: str, tmp_path: Path
) -> None:
    """Whoever changes the database and then has it backed up is found out by the signatures in it."""
    async with backups.database.connection() as connection:
        await connection.execute("alter table audit_event disable trigger user")
        await connection.execute(
            "update audit_event set leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 'ada', 'eve'), 'UTF8') "
            "where tenant = 'acme' and seq = 300"
        )
        await connection.execute("alter table audit_event enable always trigger append_only")
    shutil.rmtree(backups.folder)
    code, _, errors = await tria("backup", backups.folder, environ=backups.environ)
    assert code == 0, errors
    async with _own_database(postgres, "template1") as target:
        code, found, _ = await backups.restore(TRIA_DATABASE_URL=target)
    assert code == 1
    assert "the log of acme: record 300" in found["error"]


async def test_a_checkpoint_of_another_past_is_not_continued(backups: Backups, empty_dsn: str, postgres: str) -> None:
    """A log that was written anew under the same key is not the one that was promised."""
    async with _own_database(postgres, "tria_template") as elsewhere, Database(elsewhere) as other:
        async with sequencing(elsewhere):
            await add(other, [a_leaf(number, actor="eve") for number in range(650)])
            await drained(other)
        forged = backups.kept.with_name("forged.jsonl")
        await keep_checkpoints(other, forged)
    both = ("--checkpoints", backups.kept, "--checkpoints", forged)  # a larger one that is right hides none
    code, found, _ = await backups.restore(*both, "--into", "tria_unproven")
    assert code == 1
    assert "the log of acme" in found["error"]
    for name in ("tria_unproven", "tria_unproven_partial"):
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(other_database(empty_dsn, name))
    code, found, _ = await backups.restore(*both, TRIA_DATABASE_URL=empty_dsn)
    assert code == 1
    assert "drop it" in found["error"], "it is full, and not proven"


async def test_before_the_first_release_there_is_nothing_to_save(empty_dsn: str, tmp_path: Path) -> None:
    """A backup that did not happen is a failure, unless it was asked for so: a wrong address leads to an empty database
    too. After a first migration that failed there are some tables; what is somebody else's is never passed over."""
    environ = {"TRIA_DATABASE_URL": empty_dsn, "TRIA_AUDIT_KEY": AUDIT_KEY, "TRIA_MASTER_KEYS": MASTER}
    connection = await asyncpg.connect(empty_dsn)
    try:
        for made, said, passed in (
            ("select 1", "the database is empty: there is nothing to save", 0),
            ("create table schema_migration (version int, dirty bool)", "subject_key missing): no release has run", 0),
            ("alter table schema_migration rename to theirs", "no database of TRIA: it has public.theirs", 1),
        ):
            await connection.execute(made)
            for mode in ((), ("--base",)):
                code, _, errors = await tria("backup", tmp_path / "backup", *mode, environ=environ)
                assert (code, said in errors) == (1, True), errors
                code, output, errors = await tria(
                    "backup", tmp_path / "backup", *mode, "--unless-empty", environ=environ
                )
                assert (code, said in output + errors) == (passed, True), (output, errors)
    finally:
        await connection.close()
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240  # a folder of this test's own


async def test_wrong_use(backups: Backups, tmp_path: Path) -> None:
    code, _, errors = await tria("backup", backups.folder, environ=backups.environ)
    assert (code, "is there already" in errors) == (1, True)
    code, _, errors = await tria("backup", tmp_path / "new", environ=backups.environ | {"TRIA_MASTER_KEYS": ""})
    assert (code, "TRIA_MASTER_KEYS" in errors) == (1, True)
    (tmp_path / "junk").write_text("{}\n")
    code, found, _ = await backups.restore("--checkpoints", tmp_path / "junk")
    assert (code, "is no checkpoint" in found["error"]) == (1, True)


def test_half_a_backup_has_no_name(tmp_path: Path) -> None:
    def die() -> None:
        with drafted(tmp_path / "backup") as draft:
            (draft / "database.dump").write_bytes(b"half")
            raise RuntimeError("died")

    with pytest.raises(RuntimeError, match="died"):
        die()
    assert list(tmp_path.iterdir()) == []
    with drafted(tmp_path / "backup") as draft:
        (draft / "database.dump").write_bytes(b"whole")
        assert not (tmp_path / "backup").exists()
    assert (tmp_path / "backup" / "database.dump").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("dsn", "url", "password"),
    [
        ("postgresql://a:s%2Fc%40t@h:1/d", "postgresql://a@h:1/d", "s/c@t"),
        ("postgresql://a:pw@/d?host=%2Frun%2Fpg&port=5", "postgresql://a@/d?host=%2Frun%2Fpg&port=5", "pw"),
        ("postgres://h/d?password=x&user=a", "postgres://h/d?user=a", "x"),
        ("postgresql://h1:1,h2:2/d", "postgresql://h1:1,h2:2/d", ""),
        ("postgresql://h/d?options=-c%20a%3Db", "postgresql://h/d?options=-c%20a%3Db", ""),
    ],
)
def test_a_password_is_on_no_command_line(dsn: str, url: str, password: str) -> None:
    assert Target.of(dsn) == Target(url, password)
    assert Target.of(dsn).environment()["PGPASSWORD"] == password
    assert password not in url or not password


def test_the_password_of_a_key_file_is_refused() -> None:
    with pytest.raises(ToolFailed, match="sslpassword"):
        Target.of("postgresql://a@h/d?sslkey=/k&sslpassword=x")
