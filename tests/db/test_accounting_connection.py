"""Connections to the books: tokens renewed once, by whoever comes first, and never lost between two of them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
import redis.asyncio

from server.accounting.books import Disconnected, NotSent
from server.accounting.connecting import NotConnectable, connect_by_code
from server.accounting.connection import Connections, ConnectionState
from server.accounting.connection_store import CLAIM
from server.accounting.identity import Identity
from server.accounting.wiring import books_access
from server.audit.changes import operator
from server.config import Config
from server.db.pool import Database
from server.embedded.xero_sandbox.faults import FaultKind
from server.embedded.xero_sandbox.sandbox import Sandbox
from server.envelope import MasterKeys
from server.settings import parse_master_keys
from tests.support.books import TENANT, consent, fault, xero_config, xero_variables
from tests.support.xero import MovableClock
from tests.support.xero import xero_sandbox as open_sandbox

BY_CODE = {"XERO_GRANT": "authorization_code", "XERO_REDIRECT_URL": "http://localhost:9/connected"}
RENEW_HERE = """
import asyncio, os, sys
import redis.asyncio
from server.accounting.wiring import books_access
from server.config import load
from server.db.pool import Database, PoolSettings

async def main():
    config = load(os.environ, version="test")
    client = redis.asyncio.Redis.from_url(config.store.redis_url.reveal())
    async with (
        client,
        Database(config.store.direct.reveal(), PoolSettings(min_size=1, max_size=2)) as database,
        books_access(config, database, client) as access,
    ):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print((await access.connections.access("demo")).version, flush=True)

asyncio.run(main())
"""


class Connected:
    """A tenant that a person connected by consent, and as many processes' views of it as a test wants."""

    def __init__(self, sandbox: Sandbox, config: Config, database: Database, stack: AsyncExitStack) -> None:
        self.sandbox = sandbox
        self.config = config
        self.database = database
        self._stack = stack

    async def another(self) -> tuple[Connections, Identity]:
        client = redis.asyncio.Redis.from_url(self.config.store.redis_url.reveal())
        await self._stack.enter_async_context(client)
        access = await self._stack.enter_async_context(books_access(self.config, self.database, client))
        return access.connections, access.identity

    async def run_out(self) -> None:
        """The access token has 30 seconds left."""
        async with self.database.connection() as connection:
            await connection.execute("update accounting_connection set token_expires_at = now() + interval '30 s'")

    def tokens_given(self) -> int:
        return int(self.sandbox.journal.calls["POST /connect/token"])


@pytest_asyncio.fixture
async def connected(xero_sandbox: Sandbox, database: Database, dsn: str, redis_url: str) -> AsyncIterator[Connected]:
    async with AsyncExitStack() as stack:
        here = Connected(xero_sandbox, xero_config(xero_sandbox.url, dsn, redis_url, **BY_CODE), database, stack)
        connections, identity = await here.another()
        back = await consent(identity.consent_url("a-state"))
        await connect_by_code(connections, identity, operator(TENANT), "", back, "a-state")
        yield here


async def test_consent_connects_and_is_recorded(connected: Connected) -> None:
    connections, _ = await connected.another()
    view = await connections.view(TENANT)
    assert (view.state, view.organisation) == (ConnectionState.CONNECTED, "Sandbox Packaging Supplies")
    assert view.last_success is not None
    assert (await connections.view("nobody")).state is ConnectionState.NOT_CONNECTED
    with pytest.raises(Disconnected, match="not connected"):
        await connections.access("nobody")
    async with connected.database.connection() as connection:
        said = await connection.fetchval("select count(*) from audit_pending where action = 'CONFIG_CHANGE'")
    assert said == 1


async def test_no_token_stands_in_the_database(connected: Connected) -> None:
    connections, _ = await connected.another()
    token = (await connections.access(TENANT)).token
    async with connected.database.connection() as connection:
        row = await connection.fetchrow("select * from accounting_connection")
    assert row is not None
    assert token.encode() not in row["sealed_tokens"]
    assert token not in str(dict(row))


async def test_a_token_is_used_until_shortly_before_its_end(connected: Connected) -> None:
    connections, _ = await connected.another()
    before = connected.tokens_given()
    first = await connections.access(TENANT)
    assert (await connections.access(TENANT)).token == first.token
    assert connected.tokens_given() == before
    await connected.run_out()
    second = await connections.access(TENANT)
    assert second.token != first.token
    assert connected.tokens_given() == before + 1


async def test_six_processes_renew_once(connected: Connected, dsn: str, redis_url: str) -> None:
    await connected.run_out()
    fault(connected.sandbox, FaultKind.SLOW_AFTER, path="/connect/token", seconds=1)
    before = connected.tokens_given()
    stores = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url}
    environ = {**os.environ, **xero_variables(connected.sandbox.url, **stores, **BY_CODE)}
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", RENEW_HERE, stdin=pipe, stdout=pipe, env=environ)
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    said = [(await each)[0] for each in [asyncio.create_task(process.communicate(b"\n")) for process in processes]]
    assert len(set(said)) == 1, "all were given the same tokens"
    assert connected.tokens_given() == before + 1


async def test_many_callers_in_one_process_renew_once(connected: Connected) -> None:
    connections, _ = await connected.another()
    await connected.run_out()
    before = connected.tokens_given()
    given = await asyncio.gather(*(connections.access(TENANT) for _ in range(20)))
    assert (len({each.token for each in given}), connected.tokens_given()) == (1, before + 1)


async def test_a_process_that_dies_between_renewing_and_storing_stops_nobody(connected: Connected) -> None:
    connections, identity = await connected.another()
    await connected.run_out()
    async with connected.database.connection() as connection:
        version, sealed = await connection.fetchrow("select version, sealed_tokens from accounting_connection") or (
            0,
            b"",
        )
        assert await connection.fetchval(CLAIM, TENANT, version, 1.0) == sealed
    keys = MasterKeys(parse_master_keys(xero_variables("")["TRIA_MASTER_KEYS"]))
    refresh = keys.open(sealed, b"accounting_connection/demo").decode().split('"')[3]
    await identity.by_refresh(refresh)  # and then it was killed: the row still holds what it has just used up
    assert (await connections.access(TENANT)).version == version + 1
    await connected.run_out()
    assert (await connections.access(TENANT)).version == version + 2


async def test_a_caller_that_gives_up_does_not_stop_the_renewal(connected: Connected) -> None:
    connections, _ = await connected.another()
    await connected.run_out()
    before = connected.tokens_given()
    fault(connected.sandbox, FaultKind.SLOW_AFTER, path="/connect/token", seconds=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connections.access(TENANT), 0.3)
    await connections.access(TENANT)
    assert connected.tokens_given() == before + 1


async def test_a_lost_answer_of_the_token_endpoint_is_asked_for_again(connected: Connected) -> None:
    connections, _ = await connected.another()
    await connected.run_out()
    fault(connected.sandbox, FaultKind.REPLY_LOST, path="/connect/token")
    with pytest.raises(NotSent):
        await connections.access(TENANT)
    assert (await connections.view(TENANT)).state is ConnectionState.CONNECTED
    await connections.access(TENANT)


async def test_a_grant_that_is_not_taken_disconnects_until_a_person_connects(connected: Connected) -> None:
    connections, identity = await connected.another()
    await connected.run_out()
    fault(connected.sandbox, FaultKind.INVALID_GRANT, path="/connect/token")
    with pytest.raises(Disconnected, match="invalid_grant"):
        await connections.access(TENANT)
    view = await connections.view(TENANT)
    assert view.state is ConnectionState.DISCONNECTED
    assert "invalid_grant" in view.last_error
    assert await recorded(connected.database) == [(False, "CONNECTED"), (True, "DISCONNECTED")]
    before = connected.tokens_given()
    with pytest.raises(Disconnected):
        await connections.access(TENANT)
    assert connected.tokens_given() == before, "nobody asks on behalf of a connection that has ended"
    back = await consent(identity.consent_url("again"))
    await connect_by_code(connections, identity, operator(TENANT), "", back, "again")
    await connections.access(TENANT)


async def recorded(database: Database) -> list[tuple[bool, str]]:
    """(whether the worker did it, what the connection became), oldest first."""
    sql = """
        select told like '%tria-worker%' as by_worker, told::jsonb -> 'details' ->> 'state' as state
        from (select id, convert_from(leaf, 'utf8') as told from audit_pending
              where action = 'CONFIG_CHANGE') as leaf order by id"""
    async with database.connection() as connection:
        return [(row["by_worker"], row["state"]) for row in await connection.fetch(sql)]


async def test_a_person_disconnects_on_both_sides(connected: Connected) -> None:
    connections, _ = await connected.another()
    assert await connections.disconnect(operator(TENANT))
    assert not connected.sandbox.identity.connected
    with pytest.raises(Disconnected, match="by a person"):
        await connections.access(TENANT)
    assert not await connections.disconnect(operator(TENANT))
    async with connected.database.connection() as connection:
        assert await connection.fetchval("select sealed_tokens from accounting_connection") is None


async def test_another_master_key_means_connecting_again(connected: Connected) -> None:
    _, identity = await connected.another()
    other = Connections(
        connected.database,
        identity,
        MasterKeys(parse_master_keys(f"other={'A' * 43}=")),
        connected.config.accounting.xero.grant,
    )
    with pytest.raises(Disconnected, match="cannot be opened"):
        await other.access(TENANT)


async def test_answers_to_another_consent_are_refused(connected: Connected) -> None:
    connections, identity = await connected.another()
    for answer, why in (
        (await consent(identity.consent_url("theirs")), "another consent"),
        ("http://localhost:9/connected?error=access_denied&state=ours", "access_denied"),
        ("http://localhost:9/connected?state=ours", "no code"),
        ("no-such-code", "invalid_grant"),
    ):
        with pytest.raises(NotConnectable, match=why):
            await connect_by_code(connections, identity, operator(TENANT), "", answer, "ours")
    back = await consent(identity.consent_url("ours"))
    with pytest.raises(NotConnectable, match="no such organisation"):
        await connect_by_code(connections, identity, operator(TENANT), "another", back, "ours")


async def test_tokens_that_live_shorter_than_we_renew_early_are_renewed_once_for_a_call(
    database: Database, dsn: str, redis_url: str
) -> None:
    async with open_sandbox(token_life=30.0) as sandbox, AsyncExitStack() as stack:
        here = Connected(sandbox, xero_config(sandbox.url, dsn, redis_url, **BY_CODE), database, stack)
        connections, identity = await here.another()
        back = await consent(identity.consent_url("s"))
        await connect_by_code(connections, identity, operator(TENANT), "", back, "s")
        before = here.tokens_given()
        access = await asyncio.wait_for(connections.access(TENANT), 30)
        assert (access.version, here.tokens_given() - before) == (2, 1)


async def test_access_that_ends_by_an_error_lets_a_renewal_come_to_its_end(connected: Connected) -> None:
    await connected.run_out()
    fault(connected.sandbox, FaultKind.SLOW_AFTER, path="/connect/token", seconds=1)
    client = redis.asyncio.Redis.from_url(connected.config.store.redis_url.reveal())
    with pytest.raises(TimeoutError):
        async with client, books_access(connected.config, connected.database, client) as access:
            await asyncio.wait_for(access.connections.access(TENANT), 0.3)
    async with connected.database.connection() as connection:
        assert await connection.fetchval("select version from accounting_connection") == 2


async def test_the_other_sides_clock_does_not_matter(database: Database, dsn: str, redis_url: str) -> None:
    clock = MovableClock()
    async with open_sandbox(clock=clock, token_life=120.0) as sandbox, AsyncExitStack() as stack:
        here = Connected(sandbox, xero_config(sandbox.url, dsn, redis_url, **BY_CODE), database, stack)
        connections, identity = await here.another()
        back = await consent(identity.consent_url("s"))
        await connect_by_code(connections, identity, operator(TENANT), "", back, "s")
        assert (await connections.access(TENANT)).version == 1
        async with database.connection() as connection:
            left = await connection.fetchval("select token_expires_at - now() from accounting_connection")
        assert 0 < left.total_seconds() <= 120
