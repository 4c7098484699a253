"""Keys of people: made once, opened in their place only, gone for every process when they are destroyed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.audit import subject_store
from server.audit.erasures import ErasureFeed
from server.audit.rewrapping import rewrap_all
from server.audit.sealing import SubjectKey, Vault
from server.db.pool import Database
from server.envelope import MasterKey, MasterKeys
from server.errors import AppError
from tests.support.stores import eventually
from tests.support.vaults import MASTER, a_vault

TENANT = "acme"
PERSON = a_vault().people.reference(TENANT, "ann@example.com")
NEW = MasterKey("new", b"n" * 32)


@asynccontextmanager
async def listening(dsn: str, *vaults: Vault) -> AsyncIterator[None]:
    """Each vault as in a process of its own that hears of erasures."""
    tasks = [asyncio.create_task(ErasureFeed(dsn, vault).keep_listening()) for vault in vaults]

    async def all_listen() -> bool:
        return all(vault.remembering for vault in vaults)

    try:
        await eventually(all_listen)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def key(database: Database, vault: Vault, person: str = PERSON, tenant: str = TENANT) -> SubjectKey:
    async with database.transaction() as connection:
        return await vault.key_for(connection, tenant, person)


async def opened(database: Database, vault: Vault, box: bytes, *place: str, tenant: str = TENANT) -> str | None:
    async with database.connection() as connection:
        return (await vault.keys_of(connection, tenant, [box, None])).text(box, *place)


async def destroy(database: Database, person: str = PERSON) -> int:
    async with database.transaction() as connection:
        return await subject_store.destroy(connection, TENANT, person)


async def test_a_box_opens_in_its_place_only(database: Database) -> None:
    vault = a_vault()
    mine = await key(database, vault)
    box = mine.seal("call me at 91234567 寸\ud800", "message text", "c1", "m1")
    assert b"91234567" not in box
    assert await opened(database, vault, box, "message text", "c1", "m1") == "call me at 91234567 寸\ud800"
    assert await opened(database, vault, box, "message text", "c1", "m2") is None
    assert await opened(database, vault, box, "message text", "c1", "m1", tenant="other") is None
    assert await opened(database, vault, box[:-1] + bytes([box[-1] ^ 1]), "message text", "c1", "m1") is None
    assert mine.seal("x", "f") != mine.seal("x", "f")


async def test_a_person_of_two_tenants_has_two_keys_and_references(database: Database) -> None:
    vault = a_vault()
    assert vault.people.reference("other", "ann@example.com") != PERSON
    assert (await key(database, vault)).id == (await key(database, vault)).id
    assert (await key(database, vault)).id != (await key(database, vault, tenant="other")).id


async def test_two_at_once_get_one_key(database: Database) -> None:
    found = await asyncio.gather(*(key(database, a_vault()) for _ in range(5)))
    assert len({each.id for each in found}) == 1


async def test_a_destroyed_key_opens_nothing_and_the_next_one_is_new(database: Database, dsn: str) -> None:
    here, there = a_vault(), a_vault()
    async with listening(dsn, here, there):
        box = (await key(database, here)).seal("secret", "f")
        for vault in (here, there):
            assert await opened(database, vault, box, "f") == "secret"
            assert vault.remembered == 1
        assert await destroy(database) == 1

        async def forgotten() -> bool:
            return here.remembered == there.remembered == 0

        await eventually(forgotten)
        for vault in (here, there):
            assert await opened(database, vault, box, "f") is None
        assert (await key(database, there)).id.bytes != box[1:17]
        assert await opened(database, here, box, "f") is None
    assert await destroy(database, "p1_nobody") == 0


async def test_a_key_that_was_rolled_back_is_not_remembered(database: Database, dsn: str) -> None:
    vault = a_vault()
    async with listening(dsn, vault):
        async with database.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            lost = await vault.key_for(connection, TENANT, PERSON)
            assert (await vault.key_for(connection, TENANT, PERSON)).id == lost.id
            await transaction.rollback()
        assert vault.remembered == 0
        kept = await key(database, vault)
        assert kept.id != lost.id
        assert (await key(database, vault)).id == kept.id
        assert vault.remembered == 1


async def test_nothing_is_remembered_while_erasures_are_not_heard_of(database: Database, dsn: str) -> None:
    vault = a_vault()
    await key(database, vault)
    box = (await key(database, vault)).seal("secret", "f")
    assert vault.remembered == 0
    async with listening(dsn, vault):
        assert await opened(database, vault, box, "f") == "secret"
        assert vault.remembered == 1
        async with database.connection() as connection:
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tria-erasures' "
                "and datname = current_database()"
            )

        async def deaf() -> bool:
            return not vault.remembering

        await eventually(deaf)
        assert vault.remembered == 0
        await destroy(database)
        assert await opened(database, vault, box, "f") is None


async def test_rewrapping_lets_an_old_master_key_go(database: Database) -> None:
    box = (await key(database, a_vault())).seal("secret", "f")
    report = await rewrap_all(database, MasterKeys([NEW, MASTER]))
    assert (report.changed, report.current, report.lost) == (1, 0, 0)
    assert (await rewrap_all(database, MasterKeys([NEW, MASTER]))).current == 1
    assert await opened(database, a_vault(NEW), box, "f") == "secret"
    assert await opened(database, a_vault(), box, "f") is None, "the old master key alone opens nothing any more"


async def test_without_its_master_key_a_person_reads_as_erased_and_writes_nothing(database: Database) -> None:
    box = (await key(database, a_vault())).seal("secret", "f")
    stranger = a_vault(NEW)
    assert await opened(database, stranger, box, "f") is None
    with pytest.raises(AppError, match="master key"):
        await key(database, stranger)
    assert (await rewrap_all(database, MasterKeys([NEW]))).lost == 1
    assert await opened(database, a_vault(), box, "f") == "secret"
