"""What happens to calls when audit, Redis or PostgreSQL is away: no change without a record, no way past identity."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from server.db.pool import Database
from server.embedded.valkey import EmbeddedValkey
from tests.support import probe
from tests.support.calls import AccessLog, Keys, Served, finish, refusal, serving


async def test_a_change_is_refused_when_it_cannot_be_recorded(served: Served, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    async with served.database.connection() as connection:
        await connection.execute("alter table audit_pending rename to audit_hidden")
    _, error = await finish(served.call("Unary", probe.Ask()))
    assert refusal(error).info.reason == "AUDIT_UNAVAILABLE"
    assert served.handlers.seen == [""]  # the first one finds out
    _, error = await finish(served.call("Unary", probe.Ask()))
    assert refusal(error).info.reason == "AUDIT_UNAVAILABLE"
    assert served.handlers.seen == [""]  # the next is refused before anything is done
    assert served.counted("grpc_server_handled_total", "Unary", grpc_code="UNAVAILABLE") == 2


async def test_an_unwritable_table_alone_does_not_stop_calls(served: Served) -> None:
    async with served.database.connection() as connection:
        await connection.execute("alter table audit_pending rename to audit_hidden")
    _, error = await finish(served.call("Unary", probe.Ask()))
    assert error is None
    assert served.recorder.stats().spooled == 1


async def test_postgresql_away_is_no_way_past_an_api_key(
    keys: Keys, redis_url: str, access_log: AccessLog, tmp_path: Path
) -> None:
    secret = hashlib.sha256(b"x").hexdigest()
    async with (
        Database("postgresql://nobody@127.0.0.1:1/none") as away,
        serving(keys, away, redis_url, access_log, tmp_path) as served,
    ):
        metadata = [("x-api-key", f"key.{secret}")]
        _, error = await finish(served.call("Unary", probe.Ask(), token=None, metadata=metadata))
        assert error is not None
        assert (error.code(), refusal(error).info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert served.handlers.seen == []
        _, error = await finish(served.call("Unary", probe.Ask()))  # a token needs no database
        assert error is None
        assert served.recorder.stats().spooled == 2


async def test_keys_that_were_never_there_let_nobody_in(
    keys: Keys, database: Database, redis_url: str, access_log: AccessLog, tmp_path: Path
) -> None:
    token = keys.token()
    keys.file.unlink()
    async with serving(keys, database, redis_url, access_log, tmp_path) as served:
        _, error = await finish(served.call("Unary", probe.Ask(), token=token))
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        keys.publish()
        _, error = await finish(served.call("Unary", probe.Ask(), token=token))
        assert error is None


@pytest_asyncio.fixture
async def own_valkey(stores_root: Path) -> AsyncIterator[EmbeddedValkey]:
    """A Valkey that this test may stop."""
    server = EmbeddedValkey(stores_root / "valkey-calls")
    yield server
    await server.stop()


@pytest.mark.parametrize("arity", ["Unary", "ServerStream"])
async def test_limits_hold_per_process_while_redis_is_away(
    keys: Keys,
    database: Database,
    access_log: AccessLog,
    tmp_path: Path,
    own_valkey: EmbeddedValkey,
    arity: str,
) -> None:
    url = await own_valkey.start()
    async with serving(keys, database, url, access_log, tmp_path) as served:
        token = keys.token()
        _, error = await finish(served.call(arity, probe.Ask(), token=token))
        assert error is None
        await own_valkey.stop()
        reasons = []
        for _ in range(40):
            _, error = await finish(served.call(arity, probe.Ask(), token=token))
            reasons.append(refusal(error).info.reason if error else "")
        assert set(reasons) == {"", "RATE_LIMITED"}
        assert reasons.count("") <= 15  # half of the burst of 20, a second or two of refilling, one token still held
        other = keys.token(sub="grace")
        _, error = await finish(served.call(arity, probe.Ask(), token=other))
        assert error is None
