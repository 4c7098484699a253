"""What somebody writes is in no file in the clear, neither before an erasure nor after it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from server.caller import Role
from tests.support.people import Office, Person, new_key
from tests.support.stores import eventually
from tria.chat.v1 import chat_service_pb2

_BLOCK = 8 * 1024 * 1024


def found(words: Sequence[str], *roots: Path) -> dict[str, list[str]]:
    """Which words are in which files, whatever the files are."""
    hits: dict[str, list[str]] = {}
    for path in files(*roots):
        for word in words_in(path, [word.encode() for word in words]):
            hits.setdefault(word.decode(), []).append(str(path))
    return hits


def files(*roots: Path) -> Iterator[Path]:
    for root in roots:
        yield from (path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink())


def words_in(path: Path, words: Sequence[bytes]) -> set[bytes]:
    overlap = max(map(len, words))
    seen: set[bytes] = set()
    before = b""
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                seen |= {word for word in words if word in before + block}
                before = block[-overlap:]
    except FileNotFoundError:  # a file that a running store has just replaced
        return seen
    return seen


async def checkpoint(dsn: str) -> None:
    """Everything that PostgreSQL holds in memory is in its files afterwards."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("checkpoint")
    await connection.close()


@pytest.fixture
def roots(office: Office, stores_root: Path) -> tuple[Path, ...]:
    """Data files and write-ahead log of PostgreSQL, Valkey's append-only file, Chroma's directory, the logs of all
    three; the audit file, its spool and the checkpoints."""
    return (stores_root, office.folder)


async def test_the_search_finds_what_is_there(office: Office, roots: tuple[Path, ...], redis_url: str) -> None:
    """Words in the clear are found in the database's files, in its log, in Valkey and in the audit file's folder."""
    person = Person(office)
    words = [person.word(name) for name in ("table", "redis", "file")]
    connection = await asyncpg.connect(office.dsn)
    await connection.execute("create table clear (word text)")
    await connection.execute("insert into clear values ($1)", words[0])
    await connection.close()
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.set("clear", words[1])
    (office.folder / "note.txt").write_text(words[2])
    await checkpoint(office.dsn)
    where = found(words, *roots)
    assert sorted(where) == sorted(words)
    assert any("pg_wal" in path for path in where[words[0]])
    assert any("/base/" in path for path in where[words[0]])
    assert any("valkey" in path for path in where[words[1]])


async def test_no_word_of_a_person_is_in_any_file(
    office: Office, person: Person, roots: tuple[Path, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "server")
    texts = await office.export(person.subject)
    assert person.word("text") in str(texts)
    assert person.word("note") not in str(texts)  # it was replaced
    await checkpoint(office.dsn)
    assert found(person.words(), *roots) == {}
    receipt = await office.erase(person.subject)

    async def verified() -> bool:
        return bool(await office.value("select verified_at is not null from erasure"))

    await eventually(verified, within=60)
    await checkpoint(office.dsn)
    assert found(person.words(), *roots) == {}
    assert not [word for word in person.words() if word in caplog.text]
    assert not [word for word in person.words() if word in receipt.signed_note]
    # Every leaf from before proves itself still: what is hashed is what was sealed, or a reference.
    assert (await office.verified()).header.last_seq >= receipt.seq


async def test_no_row_names_an_erased_person(office: Office, person: Person) -> None:
    """By reference too, nothing is left but what says that they were erased, and what was done, for accountability."""
    await office.erase(person.subject)

    async def verified() -> bool:
        return bool(await office.value("select verified_at is not null from erasure"))

    await eventually(verified, within=60)
    connection = await asyncpg.connect(office.dsn)
    tables = await connection.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    )
    naming = set()
    for table in tables:
        rows = await connection.fetch(f'select row_to_json(t)::text as row from "{table["relname"]}" as t')
        if any(person.reference in row["row"] for row in rows):
            naming.add(table["relname"])
    await connection.close()
    told = {name for name in naming if not name.startswith("audit_event")}  # whom the receipt's leaf is about
    assert told <= {"subject_key", "erasure", "idempotency"}


async def test_a_message_on_its_way_while_its_person_is_erased_is_never_readable(
    office: Office, person: Person
) -> None:
    """Whatever comes first, no text that was sealed before the erasure can be read after it."""
    before = await office.value("select max(create_time) from message")
    await office.erase(person.subject)
    readable = await office.value(
        "select count(*) from message join subject_key on subject_key.key_id = "
        "encode(substr(text_box, 2, 16), 'hex')::uuid where wrapped is not null and message.create_time <= $1",
        before,
    )
    assert readable == 0
    request = chat_service_pb2.ListMessagesRequest(parent=person.conversation)
    listed = await office.chat.ListMessages(request, metadata=office.who(Role.STAFF, f"desk-{new_key()[:8]}"))
    assert {message.text for message in listed.messages} == {"[erased]"}
