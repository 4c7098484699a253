"""First answers at rest: whoever repeats the call brings the key; nobody else reads, guesses or changes them."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, replace

import pytest

from server.caller import AuthMethod, Caller, Role
from server.db.pool import Database
from server.errors import AppError, Reason
from server.idempotency import Idempotency, Once, once

ANN = Caller("acme", "ann@example.com", frozenset({Role.CUSTOMER}), AuthMethod.JWT, outlet="o1", person="p1_ann")
BODY = b"call me at 91234567"


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    person: str = ""


async def call(
    database: Database, request_id: str, answer: str = "first", *, caller: Caller = ANN, body: bytes = BODY,
    about: str = "",
) -> Once:  # fmt: skip
    async def produce() -> Answer:
        return Answer(answer, about)

    key: Idempotency[Answer] = Idempotency("Create", request_id, body, lambda made: made.text.encode())
    async with database.transaction() as connection:
        return await once(connection, caller, key, produce)


async def test_a_repeated_call_gets_the_first_answer(database: Database) -> None:
    key = str(uuid.uuid4())
    assert await call(database, key) == Once(b"first", replayed=False)
    assert await call(database, key.upper(), "second") == Once(b"first", replayed=True)
    with pytest.raises(AppError) as caught:
        await call(database, key, body=b"other")
    assert caught.value.reason is Reason.IDEMPOTENCY_KEY_REUSED


async def test_the_key_is_the_callers_own(database: Database) -> None:
    key = str(uuid.uuid4())
    await call(database, key)
    for other in (
        replace(ANN, subject="bob", person="p1_bob"),
        replace(ANN, outlet="o2"),
        replace(ANN, tenant="other"),
    ):
        assert await call(database, key, "theirs", caller=other) == Once(b"theirs", replayed=False)


async def test_the_row_says_nothing(database: Database) -> None:
    key = uuid.uuid4()
    await call(database, str(key), "your number is 91234567")
    async with database.connection() as connection:
        row = await connection.fetchrow("select idempotency::text as shown, * from idempotency")
    assert row is not None
    for secret in (b"91234567", ANN.subject.encode(), key.bytes):
        assert secret not in row["response"]
        assert secret not in row["body_sha256"]
        assert secret not in row["request_id"].bytes
    assert "ann@example.com" not in row["shown"]
    assert str(key) not in row["shown"]
    # Not even a guess of the whole body is confirmed by it.
    assert row["body_sha256"] != hashlib.sha256(BODY).digest()


async def test_an_answer_that_was_changed_in_the_store_is_not_given(database: Database) -> None:
    key = str(uuid.uuid4())
    await call(database, key)
    async with database.connection() as connection:
        await connection.execute("update idempotency set response = set_byte(response, 13, get_byte(response, 13) # 1)")
    with pytest.raises(AppError, match="changed in the store"):
        await call(database, key)


async def test_an_erased_answer_is_not_made_again(database: Database) -> None:
    key = str(uuid.uuid4())
    await call(database, key, about="p1_bob")
    async with database.connection() as connection:
        assert await connection.fetchval("select about from idempotency") == "p1_bob"
        await connection.execute("update idempotency set response = null")
    with pytest.raises(AppError) as caught:
        await call(database, key, "again")
    assert caught.value.reason is Reason.RESOURCE_NOT_FOUND
