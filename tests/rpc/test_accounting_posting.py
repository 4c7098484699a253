"""A confirmed order becomes exactly one invoice of the confirmed total, whatever the books answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from server.accounting.books import Booked
from server.accounting.budget import Lane, Spent
from server.db.pool import Connection, Database, PoolSettings
from tests.support import orders
from tests.support.accounting import IMPATIENT, Accounts, accounts_server, total
from tests.support.orders import TENANT, amount, bare
from tests.support.stores import eventually
from tria.order.v1 import order_pb2, order_service_pb2

_S = order_pb2.Invoice.State


async def booked_once(accounts: Accounts, order: order_pb2.Order) -> None:
    """One invoice in the books, over what was confirmed, and the order says so."""
    [booked] = accounts.booked(order)
    assert order.invoice.number == booked["number"]
    assert Decimal(booked["total"]) == total(order) == amount(order.invoice.booked_total)
    assert not order.invoice.last_error


def puts(accounts: Accounts) -> int:
    """How often invoices were sent."""
    calls: dict[str, int] = accounts.sandbox.state()["calls"]
    return sum(count for call, count in calls.items() if call.startswith("PUT") and call.endswith("Invoices"))


async def test_a_confirmed_order_is_booked_once_with_the_confirmed_total(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed(("PB-12", "200"), ("CT", "3"))
        assert placed.invoice.state == _S.QUEUED
        order = await accounts.until(placed.name, "AUTHORISED")
        await eventually(lambda: _so(bool(accounts.booked(order)[0]["history"])))
    await booked_once(accounts, order)
    [booked] = accounts.booked(order)
    assert booked["number"] == order.number.replace("SO-", "INV-")
    assert booked["url"] == f"https://desk.example/{order.name}"
    assert booked["history"] == [
        f"Posted by TRIA for order {order.number}, revision 1; the customer confirmed SGD {total(order):.2f}."
    ]
    assert order.invoice.attempts == 1
    assert [leaf["state"] for leaf in await accounts.leaves("INVOICE_POST")] == ["SENDING", "AUTHORISED"]
    assert accounts.sandbox.state()["violations"] == 0


async def test_watchers_see_the_invoice_on_its_way(accounts: Accounts) -> None:
    who = accounts.who()
    watch = accounts.orders.WatchOrders(order_service_pb2.WatchOrdersRequest(), metadata=who)
    seen: list[str] = []

    async def read() -> None:
        async for event in watch:
            told = [event.order.invoice] if event.order.HasField("invoice") else []
            seen.extend(_S.Name(invoice.state) for invoice in told)

    reading = asyncio.create_task(read())
    await watch.wait_for_connection()
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        accounts.sandbox.pay(placed.invoice.number)
        await accounts.following.observe(  # what a webhook would have led to
            "lumen", await _found(accounts, placed.invoice.number)
        )
        await eventually(lambda: _so("PAID" in seen))
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert seen == ["QUEUED", "SENDING", "AUTHORISED", "PAID"]


@pytest.mark.parametrize("kind", ["reply_lost", "garbage", "reset", "server_error", "unavailable"])
async def test_an_unknown_outcome_is_looked_up_and_ends_in_one_invoice(accounts: Accounts, kind: str) -> None:
    accounts.sandbox.faults.script(kind, method="PUT", path="Invoices")
    placed = await accounts.placed()
    async with accounts.working():
        order = await accounts.until(placed.name, "AUTHORISED")
    await booked_once(accounts, order)
    assert "OUTCOME_UNKNOWN" in [leaf["state"] for leaf in await accounts.leaves("INVOICE_POST")]
    assert len(accounts.booked(order, alive=False)) == 1


async def test_the_same_key_is_used_again_only_while_the_books_know_it(accounts: Accounts) -> None:
    accounts.sandbox.faults.script("server_error", method="PUT", path="Invoices", times=1)
    accounts.sandbox.faults.script("unavailable", path="Invoices", times=1)  # the first look-up
    placed = await accounts.placed()
    keys = set()
    async with accounts.working():

        async def booked() -> bool:
            [row] = await accounts.rows(placed.name)
            keys.add(row["send_key"])
            return bool(row["state"] == "AUTHORISED")

        await eventually(booked)
    assert len(keys - {""}) == 1


async def test_when_the_key_is_stale_it_must_be_missing_twice(accounts: Accounts) -> None:
    """A worker died while it was sending, long ago."""
    placed = await accounts.placed()
    await accounts.value(
        "update invoice set state = 'SENDING', attempts = 1, send_key = 'old', send_count = 1, "
        "first_sent_at = now() - interval '1 hour', taken_until = now() - interval '1 hour'"
    )
    async with accounts.working():
        order = await accounts.until(placed.name, "AUTHORISED")
    await booked_once(accounts, order)
    [row] = await accounts.rows(placed.name)
    assert row["send_key"] not in {"", "old"}
    assert row["attempts"] == 2
    states = [leaf["state"] for leaf in await accounts.leaves("INVOICE_POST")]
    assert states == ["OUTCOME_UNKNOWN", "SENDING", "AUTHORISED"]


async def test_a_dead_workers_invoice_that_arrived_is_found(accounts: Accounts) -> None:
    placed = await accounts.placed()
    accounts.sandbox.faults.script("slow_after", method="PUT", path="Invoices", seconds=Decimal(3))
    async with accounts.working():
        await eventually(lambda: _so(bool(accounts.booked(placed))))
        await accounts.value("update invoice set turn = turn + 1, taken_until = now()")  # taken over meanwhile
        order = await accounts.until(placed.name, "AUTHORISED")
    await booked_once(accounts, order)
    assert puts(accounts) == 1


async def test_an_answer_that_comes_after_its_turn_changes_nothing(accounts: Accounts) -> None:
    """The worker was slow and taken for dead; meanwhile somebody has voided the invoice in Xero, and we know."""
    placed = await accounts.placed()
    accounts.sandbox.faults.script("slow_after", method="PUT", path="Invoices", seconds=Decimal(2))
    posting = asyncio.create_task(accounts.post(placed))
    await eventually(lambda: _so(bool(accounts.booked(placed))))
    accounts.sandbox.void(placed.invoice.number)
    await accounts.value("update invoice set turn = turn + 1, taken_until = null")
    assert await accounts.following.observe("lumen", await _found(accounts, placed.invoice.number))
    assert not posting.done()
    await posting
    assert (await accounts.order(placed.name)).invoice.state == _S.VOIDED


async def test_over_the_limit_it_waits_and_loses_no_attempt(accounts: Accounts) -> None:
    accounts.sandbox.faults.script("minute_limit", method="PUT", path="Invoices", seconds=Decimal(1))
    placed = await accounts.placed()
    async with accounts.working():
        waiting = await accounts.until(placed.name, "WAITING_BUDGET")
        assert waiting.invoice.next_attempt_time.ToDatetime(UTC) > datetime.now(UTC)
        assert (waiting.invoice.attempts, waiting.invoice.last_error) == (
            0,
            "The minute limit of Xero's calls is used up.",
        )
        order = await accounts.until(placed.name, "AUTHORISED")
    await booked_once(accounts, order)
    assert order.invoice.attempts == 1


async def test_what_has_piled_up_goes_in_few_calls(accounts: Accounts) -> None:
    placed = await accounts.many(24)
    async with accounts.working():
        for order in placed:
            await booked_once(accounts, await accounts.until(order.name, "AUTHORISED"))
    assert puts(accounts) <= 4
    assert len(accounts.booked()) == 24


async def test_watchers_are_told_of_a_batch_at_once_and_last(accounts: Accounts) -> None:
    """The tenant's orders wait for the feed while it is told."""
    placed = await accounts.many(5)
    told: list[list[str]] = []

    async def announce(connection: Connection, tenant: str, orders: Sequence[str]) -> None:
        told.append(sorted(orders))
        assert await connection.fetchval("select count(*) from invoice where state = 'QUEUED'") in {0, 5}
        await accounts.changes.announce(connection, tenant, orders)

    before = await accounts.value("select last_seq from order_feed where tenant = $1", TENANT)
    await accounts.post(placed[0], replace(accounts.changes, announce=announce))
    assert told[0] == sorted(bare(order.name) for order in placed)
    async with accounts.database.connection() as connection:
        sql = "select seq, order_id from order_event where tenant = $1 and seq > $2 order by seq"
        events = [tuple(row) for row in await connection.fetch(sql, TENANT, before)]
    assert [seq for seq, _ in events] == list(range(before + 1, before + 11)), "one for sending, one for the outcome"
    assert sorted(order for _, order in events[:5]) == told[0]


async def record_of(accounts: Accounts) -> tuple[int, int]:
    """How many leaves of invoices and how many events of orders there are."""
    leaves = await accounts.value("select count(*) from audit_pending where action like 'INVOICE%'")
    return leaves, await accounts.value("select count(*) from order_event")


@pytest.mark.parametrize("trouble", ["budget", "outage"])
async def test_what_cannot_be_sent_now_is_not_recorded_at_every_try(
    dsn: str, redis_url: str, tmp_path: Path, trouble: str
) -> None:
    variables = {"XERO_API_URL": "http://127.0.0.1:9"} if trouble == "outage" else {}
    async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
        await orders.fill(database)
    async with accounts_server(tmp_path, dsn, redis_url) as before_the_trouble:
        await before_the_trouble.connect()
    async with accounts_server(tmp_path, dsn, redis_url, variables=variables) as accounts:
        if trouble == "budget":
            place = await accounts.access.budget.take(TENANT, Lane.JOBS, 1.0)
            await accounts.access.budget.give_back(place, Spent(block=3600.0, limit="day"))
        placed = await accounts.many(4)
        for order in placed * 3:  # until the breaker is open, too
            await accounts.post(order)
            await accounts.value("update invoice set next_attempt_time = null")
        before = await record_of(accounts)
        for order in placed * 3:
            await accounts.post(order)
            await accounts.value("update invoice set next_attempt_time = null")
        assert await record_of(accounts) == before
        shown = (await accounts.order(placed[0].name)).invoice
        assert shown.state == (_S.WAITING_BUDGET if trouble == "budget" else _S.QUEUED)
        assert shown.last_error
        if trouble == "budget":
            assert before[0] == 4, "one leaf for each that waits now"
            assert shown.attempts == 0, "nothing was sent"
        assert await accounts.value("select max(attempts) from invoice") <= 5


async def test_one_refused_invoice_of_a_batch_leaves_the_others_alone(accounts: Accounts) -> None:
    placed = await accounts.many(5)
    await accounts.value(
        "update invoice set posting = jsonb_set(posting, '{lines,0,tax_rate}', '\"0.77\"') where order_id = $1",
        bare(placed[2].name),
    )
    await accounts.post(placed[0])
    ended = [await accounts.order(order.name) for order in placed]
    states = [_S.Name(order.invoice.state) for order in ended]
    assert states == ["AUTHORISED", "AUTHORISED", "NEEDS_ATTENTION", "AUTHORISED", "AUTHORISED"]
    assert puts(accounts) == 1
    assert len(accounts.booked()) == 4


async def test_a_batch_refused_as_a_whole_is_sent_one_by_one(accounts: Accounts) -> None:
    placed = await accounts.many(3)
    accounts.sandbox.faults.script("validation_error", method="PUT", path="Invoices", message="Something is wrong")
    await accounts.post(placed[0])
    assert not accounts.booked()
    async with accounts.working():
        for order in placed:
            await booked_once(accounts, await accounts.until(order.name, "AUTHORISED"))
    assert puts(accounts) == 4


@pytest.mark.parametrize("kind", ["reply_lost", "server_error"])
async def test_a_batch_of_unknown_outcome_is_made_again_as_it_was(accounts: Accounts, kind: str) -> None:
    # However slow the machine is, the books still know the key.
    accounts.changes = replace(accounts.changes, patience=replace(IMPATIENT, key_life=60.0))
    placed = await accounts.many(6)
    accounts.sandbox.faults.script(kind, method="PUT", path="Invoices")
    await accounts.post(placed[0])
    assert {row.invoice.state for row in [await accounts.order(order.name) for order in placed]} == {_S.OUTCOME_UNKNOWN}
    async with accounts.working():
        for order in placed:
            await booked_once(accounts, await accounts.until(order.name, "AUTHORISED"))
    assert len(accounts.booked(alive=False)) == 6
    sent = [row for order in placed for row in await accounts.rows(order.name)]
    assert {(row["send_key"], row["send_count"]) for row in sent} == {(sent[0]["send_key"], 6)}, "all of it, by one key"


async def _found(accounts: Accounts, number: str) -> Booked:
    found = await accounts.books.jobs.find("lumen", number)
    assert found is not None
    return found


async def _so(condition: bool) -> bool:
    return condition
