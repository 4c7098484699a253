"""Every embedded store through the same misfortunes: its child killed, its owner killed, a second owner, odd paths."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

from server.embedded.child import OwnedElsewhere, StartFailed
from server.embedded.chroma import EmbeddedChroma
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from tests.support.owner import KINDS
from tests.support.stores import eventually

Store = EmbeddedPostgres | EmbeddedValkey | EmbeddedChroma

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(stores_root: Path, request: pytest.FixtureRequest) -> Path:
    name = "".join(character if character.isalnum() else "-" for character in request.node.name)
    parent = stores_root / f"with a space {name}"
    parent.mkdir(mode=0o711)
    return parent / "state"


@pytest_asyncio.fixture
async def store(kind: str, folder: Path) -> AsyncIterator[Store]:
    store = KINDS[kind](folder)
    yield store
    await store.stop()


def _chroma(url: str, method: str, path: str, body: object = None) -> object:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    root = "/api/v2/tenants/default_tenant/databases/default_database/collections"
    try:
        connection.request(method, root + path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    assert answer.status < 300, text
    return json.loads(text)


async def write(kind: str, url: str) -> None:
    """Store one durable fact."""
    if kind == "postgres":
        connection = await asyncpg.connect(url)
        await connection.execute("create table fact (said text); insert into fact values ('kept')")
        await connection.close()
    elif kind == "valkey":
        client = redis.asyncio.Redis.from_url(url)
        await client.xadd("fact", {"said": "kept"})
        await client.aclose()
    else:
        made = await asyncio.to_thread(_chroma, url, "POST", "", {"name": "fact"})
        assert isinstance(made, dict)
        row = {"ids": ["1"], "embeddings": [[0.5, 0.25]], "documents": ["kept"]}
        await asyncio.to_thread(_chroma, url, "POST", f"/{made['id']}/add", row)


async def read(kind: str, url: str) -> str:
    """What `write` stored."""
    if kind == "postgres":
        connection = await asyncpg.connect(url)
        said = await connection.fetchval("select said from fact")
        await connection.close()
        return str(said)
    if kind == "valkey":
        client = redis.asyncio.Redis.from_url(url, decode_responses=True)
        entries = cast("list[tuple[str, dict[str, str]]]", await client.xrange("fact"))
        await client.aclose()
        return entries[0][1]["said"]
    found = await asyncio.to_thread(_chroma, url, "GET", "/fact")
    assert isinstance(found, dict)
    got = await asyncio.to_thread(_chroma, url, "POST", f"/{found['id']}/get", {"include": ["documents"]})
    assert isinstance(got, dict)
    return str(got["documents"][0])


class Owner:
    """A process of its own that owns a store."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.owner", kind, folder],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def up(self) -> tuple[int, str]:
        assert self.process.stdout
        line = await asyncio.to_thread(self.process.stdout.readline)
        pid, url = line.split()
        return int(pid), url

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def owner(kind: str, folder: Path) -> Iterator[Owner]:
    owner = Owner(kind, folder)
    yield owner
    owner.kill()


def has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


async def test_child_killed_is_noticed_and_restarts_with_its_data_at_the_same_url(kind: str, store: Store) -> None:
    url = await store.start()
    await write(kind, url)
    first = store.pid
    assert first is not None
    watcher = asyncio.create_task(store.wait_exit())
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    assert await asyncio.wait_for(watcher, 10) == -signal.SIGKILL
    assert has_ended(first)
    assert await store.start() == url
    assert store.pid not in {None, first}
    assert await read(kind, url) == "kept"


async def test_stop_is_clean_and_the_directory_can_be_used_again(kind: str, folder: Path, store: Store) -> None:
    url = await store.start()
    await write(kind, url)
    pid = store.pid
    assert pid is not None
    await store.stop()
    # A server that was told to end, ended by itself (0) or by that very signal; never by SIGKILL.
    assert await store.wait_exit() in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
    assert has_ended(pid)
    successor = KINDS[kind](folder)
    assert await successor.start() == url
    assert await read(kind, url) == "kept"
    await successor.stop()


async def test_owner_killed_takes_its_child_along_and_a_successor_finds_the_data(
    kind: str, folder: Path, owner: Owner, store: Store
) -> None:
    pid, url = await owner.up()
    await write(kind, url)
    if kind == "valkey":
        await eventually(lambda: _appended(folder))
    owner.kill()
    assert await store.start() == url  # waits for the orphan to finish, if it has to
    assert has_ended(pid)
    assert await read(kind, url) == "kept"


async def _appended(folder: Path) -> bool:
    return holds_the_fact(folder / "appendonlydir")


def holds_the_fact(folder: Path) -> bool:
    return any(b"kept" in path.read_bytes() for path in folder.glob("*.aof"))


@pytest.mark.parametrize("kind", ["postgres"])
async def test_postgres_owner_killed_in_the_middle_of_initdb(folder: Path, owner: Owner, store: Store) -> None:
    await eventually(lambda: _exists(folder / "data.new" / "PG_VERSION"))
    owner.kill()
    url = await store.start()
    await write("postgres", url)
    assert await read("postgres", url) == "kept"


async def _exists(path: Path) -> bool:
    return await asyncio.to_thread(path.exists)


async def test_second_owner_is_refused_with_the_pid_of_the_first(owner: Owner, store: Store) -> None:
    pid, _ = await owner.up()
    with pytest.raises(OwnedElsewhere, match=f"in use by process {owner.process.pid}. Stop it") as refused:
        await store.start()
    assert refused.value.pid == owner.process.pid
    assert store.pid is None
    assert not has_ended(pid)


async def test_long_path(kind: str, folder: Path) -> None:
    """Longer than a unix socket may be called; what stands in for it in the temp directory goes with the stop."""
    before = stand_ins()
    store = KINDS[kind](folder / ("deep" * 40))
    url = await store.start()
    try:
        await write(kind, url)
        assert await read(kind, url) == "kept"
    finally:
        await store.stop()
    assert stand_ins() <= before


def stand_ins() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("tria-" + "[0-9a-f]" * 16))


async def test_state_directory_is_private(folder: Path, store: Store) -> None:
    await store.start()
    assert open_to_others(folder) == []


def open_to_others(folder: Path) -> list[Path]:
    secrets = [path for path in folder.rglob("*") if path.name in {"password", "owner.lock", "valkey.conf"}]
    assert secrets
    return [path for path in (folder, *secrets) if path.stat().st_mode & 0o077]


async def test_must_be_started_from_the_main_thread(store: Store) -> None:
    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(asyncio.run, store.start())


@contextmanager
def stranger_with_the_pid_in(lock: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the server's own user (PostgreSQL looks no further than that) whose pid stands in its lock file."""
    owner = lock.parent.stat().st_uid
    with subprocess.Popen(["/bin/sleep", "60"], user=owner if os.geteuid() == 0 else None) as stranger:
        lines = lock.read_text().splitlines()
        lock.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        try:
            yield stranger
        finally:
            stranger.kill()


async def test_postgres_ignores_a_reused_pid(folder: Path) -> None:
    store = EmbeddedPostgres(folder)
    url = await store.start()
    await write("postgres", url)
    assert store.pid
    os.kill(store.pid, signal.SIGKILL)
    await store.wait_exit()
    with stranger_with_the_pid_in(folder / "data" / "postmaster.pid") as stranger:
        assert await store.start() == url
        assert await read("postgres", url) == "kept"
        await store.stop()
        assert stranger.poll() is None


async def test_postgres_refuses_wrong_passwords(folder: Path) -> None:
    store = EmbeddedPostgres(folder)
    url = await store.start()
    try:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url, password="guess")
    finally:
        await store.stop()


async def test_valkey_keeps_streams_by_refusing_writes_when_full(folder: Path) -> None:
    store = EmbeddedValkey(folder, maxmemory="3mb")
    client = redis.asyncio.Redis.from_url(await store.start())
    try:
        first = await client.xadd("run", {"delta": "hello"})
        with pytest.raises(redis.exceptions.OutOfMemoryError):  # noqa: PT012 - one of these writes is too much
            for number in range(10_000):
                await client.set(f"filler-{number}", b"x" * 10_000)
        assert await client.xrange("run") == [(first, {b"delta": b"hello"})]
    finally:
        await client.aclose()
        await store.stop()


async def test_chroma_moves_only_when_its_port_is_taken_at_the_first_start(folder: Path) -> None:
    first = EmbeddedChroma(folder)
    url = await first.start()
    await first.stop()
    with socket.create_server(("127.0.0.1", urlsplit(url).port or 0)):
        moved = EmbeddedChroma(folder)
        second_url = await moved.start()
        assert second_url != url
    pid = moved.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    await moved.wait_exit()
    with (
        socket.create_server(("127.0.0.1", urlsplit(second_url).port or 0)),
        pytest.raises(StartFailed, match="chroma exited"),
    ):
        await moved.start()
    assert await moved.start() == second_url
    await moved.stop()
