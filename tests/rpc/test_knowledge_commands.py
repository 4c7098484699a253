"""`tria knowledge import` as a program: what it prints, what it returns, what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from pathlib import Path

import pytest
import pytest_asyncio

from server.db.pool import Database
from server.knowledge import store
from server.knowledge.wiring import KnowledgeSettings, open_knowledge
from server.tenants import ensure_tenant


@pytest_asyncio.fixture
async def tenant(database: Database) -> str:
    name = f"cli-{uuid.uuid4().hex[:12]}"
    async with database.transaction() as connection:
        await ensure_tenant(connection, name)
    return name


async def tria(*arguments: str | Path, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("TRIA_", "OPENAI_"))}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", *map(str, arguments), env=variables | (environ or {}),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await child.communicate()
    return child.returncode or 0, output.decode(), errors.decode()


@pytest.fixture
def state_dir(tmp_path: Path, dsn: str, chroma_url: str) -> Path:
    """What `tria up` leaves for commands."""
    (tmp_path / "environment.json").write_text(json.dumps({"TRIA_DATABASE_URL": dsn, "TRIA_CHROMA_URL": chroma_url}))
    return tmp_path


async def test_importing_a_folder_twice(state_dir: Path, tenant: str, tmp_path: Path, database: Database) -> None:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "delivery.md").write_text("# Delivery\n\nSentosa on Saturday.\n")
    (folder / "sub" / "returns.txt").write_text("Returns\n\nWithin ten days.\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    code, output, errors = await tria("knowledge", "import", folder, "--tenant", tenant, "--state-dir", state_dir)
    assert (code, errors) == (0, "")
    assert output.splitlines() == [
        "imported   documents/delivery",
        "imported   documents/returns",
        "2 imported, 0 unchanged, 0 failed",
    ]
    async with database.connection() as connection:
        assert await store.unindexed(connection, tenant, ["delivery", "returns"]) == {}
    code, output, _ = await tria("knowledge", "import", folder, "--tenant", tenant, "--state-dir", state_dir, "--json")
    assert code == 0
    assert json.loads(output) == {
        "imported": [],
        "unchanged": ["documents/delivery", "documents/returns"],
        "failed": [],
        "indexed": True,
    }


async def test_bad_files_are_named_and_good_ones_stay(state_dir: Path, tenant: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.md").write_text(f"# {name}\n\ntext\n")
    (tmp_path / "good.md").write_text("# Good\n\ntext\n")
    (tmp_path / "bad.pdf").write_bytes(b"no pdf")
    code, output, errors = await tria(
        "knowledge", "import", *(tmp_path / name for name in ("one", "two", "good.md", "bad.pdf")),
        "--tenant", tenant, "--state-dir", state_dir,
    )  # fmt: skip
    assert code == 1
    assert output.splitlines() == ["imported   documents/good", "1 imported, 0 unchanged, 3 failed"]
    assert "bad.pdf cannot be read: it is damaged" in errors
    assert errors.count("would all be documents/same") == 2


async def test_wrong_use(state_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\ntext\n")
    assert (await tria("knowledge", "import", tmp_path / "a.md", "--tenant", "t", "--state-dir", tmp_path / "x"))[
        0
    ] == 1
    assert (await tria("knowledge", "import", tmp_path / "absent.md", "--tenant", "t"))[0] == 2
    arguments = ("knowledge", "import", tmp_path / "a.md", "--state-dir", state_dir, "--tenant")
    assert (await tria(*arguments, "No Such"))[0] == 2


async def test_a_new_tenant_is_created_and_said(state_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\ntext\n")
    name = f"new-{uuid.uuid4().hex[:12]}"
    arguments = ("knowledge", "import", tmp_path / "a.md", "--state-dir", state_dir, "--tenant", name)
    assert [await tria(*arguments), await tria(*arguments)] == [
        (0, "imported   documents/a\n1 imported, 0 unchanged, 0 failed\n", f"tenant {name} is new\n"),
        (0, "unchanged  documents/a\n0 imported, 1 unchanged, 0 failed\n", ""),
    ]


async def test_vectors_that_were_lost_are_asked_for_again(
    state_dir: Path, tenant: str, tmp_path: Path, database: Database, chroma_url: str
) -> None:
    """As after a restore: the documents are there, Chroma is empty."""
    (tmp_path / "a.md").write_text("# A\n\ntext\n")
    assert (await tria("knowledge", "import", tmp_path / "a.md", "--tenant", tenant, "--state-dir", state_dir))[0] == 0
    async with open_knowledge(KnowledgeSettings(chroma_url), database) as known:
        await known.index.drop(tenant)
        code, output, errors = await tria("knowledge", "reindex", "--state-dir", state_dir)
        assert (code, output) == (0, "1 documents queued\n"), errors
        async with database.connection() as connection:
            job = await connection.fetchval("select payload from pgqueuer where entrypoint = 'index_document'")
        await known.service.index_document(job)
        assert await known.service.repair() == 0
