"""What only a person can mend: why, what to do, and that it goes on from there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from server.accounting.invoices import Invoices
from server.db.pool import Database, PoolSettings
from tests.support import orders
from tests.support.accounting import Accounts, accounts_server, cancel, change, total
from tests.support.orders import amount, new_key
from tests.support.reading import reason
from tests.support.stores import eventually
from tests.support.xero import book, xero_client
from tria.accounting.v1 import accounting_service_pb2 as rpc
from tria.order.v1 import order_pb2

_S = order_pb2.Invoice.State


async def retry(accounts: Accounts, name: str, request_id: str = "") -> order_pb2.Order:
    request = rpc.RetryInvoiceRequest(order=name, request_id=request_id or new_key())
    answer: rpc.RetryInvoiceResponse = await accounts.accounting.RetryInvoice(request, metadata=accounts.who())
    return answer.order


async def letters(accounts: Accounts) -> list[tuple[str, str, str, str]]:
    """(order, reason, message, fix)."""
    answer = await accounts.accounting.ListDeadLetters(rpc.ListDeadLettersRequest(), metadata=accounts.who())
    return [(each.order, each.reason, each.message, each.fix) for each in answer.dead_letters]


async def test_a_refused_invoice_shows_xeros_sentences_and_goes_on_after_the_fix(accounts: Accounts) -> None:
    said = "Account code '200' is not a valid code for this document."
    accounts.sandbox.faults.script("validation_error", method="PUT", path="Invoices", message=said)
    placed = await accounts.placed()
    async with accounts.working():
        stuck = await accounts.until(placed.name, "NEEDS_ATTENTION")
        assert said in stuck.invoice.last_error
        assert await letters(accounts) == [
            (
                placed.name,
                "ACCOUNTING_REJECTED",
                stuck.invoice.last_error,
                "Check XERO_SALES_ACCOUNT_CODE against the chart of accounts in Xero, then retry.",
            )
        ]
        queued = await retry(accounts, placed.name)
        assert (queued.invoice.state, queued.invoice.number) == (_S.QUEUED, stuck.invoice.number)
        order = await accounts.until(placed.name, "AUTHORISED")
    assert await letters(accounts) == []
    assert order.invoice.number == stuck.invoice.number
    assert [each["total"] for each in accounts.booked()] == [f"{total(order):.2f}"]
    assert [leaf["was"] for leaf in await accounts.leaves("INVOICE_RETRY")] == ["NEEDS_ATTENTION"]


async def test_an_authorised_invoice_of_another_total_is_voided_at_once(accounts: Accounts) -> None:
    accounts.sandbox.faults.script("wrong_total", method="PUT", path="Invoices", amount=Decimal("0.01"))
    placed = await accounts.placed()
    async with accounts.working():
        stuck = await accounts.until(placed.name, "MISMATCH")
        assert amount(stuck.invoice.booked_total) == total(placed) + Decimal("0.01")
        assert "the customer confirmed" in stuck.invoice.last_error
        await _gone(accounts)
        assert [each["status"] for each in accounts.booked(alive=False)] == ["VOIDED"]
        assert [letter[1] for letter in await letters(accounts)] == ["INVOICE_TOTAL_MISMATCH"]
        assert (await accounts.order(placed.name)).invoice.state == _S.MISMATCH
        await retry(accounts, placed.name)
        order = await accounts.until(placed.name, "AUTHORISED")
    [booked] = accounts.booked()
    assert Decimal(booked["total"]) == total(order)
    # Xero gives the number of a voided invoice to no other one.
    assert order.invoice.number == booked["number"] == f"{placed.invoice.number}-E2"


async def voided_there(accounts: Accounts) -> order_pb2.Order:
    """An order whose invoice somebody voided in Xero."""
    placed = await accounts.placed()
    await accounts.until(placed.name, "AUTHORISED")
    accounts.sandbox.void(placed.invoice.number)
    await accounts.following.reconcile_all()
    voided = await accounts.until(placed.name, "VOIDED")
    fix = "Retry to book it under its next number, or cancel the order."
    assert await letters(accounts) == [(placed.name, "INVOICE_VOIDED", voided.invoice.last_error, fix)]
    return placed


async def test_an_invoice_voided_in_xero_while_its_order_stands_is_told_and_booked_again(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await voided_there(accounts)
        await retry(accounts, placed.name)
        order = await accounts.until(placed.name, "AUTHORISED")
        assert await letters(accounts) == []
    [booked] = accounts.booked()
    assert (booked["number"], order.invoice.last_error) == (order.invoice.number, "")
    assert (Decimal(booked["total"]), order.invoice.number) == (total(order), f"{placed.invoice.number}-E2")


async def test_what_was_voided_before_we_knew_it_is_not_booked_again_by_itself(accounts: Accounts) -> None:
    """As after a restore: the row is of a time before its invoice was posted, and voided."""
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        accounts.sandbox.void(placed.invoice.number)
    before = "state = 'QUEUED', attempts = 0, booked = null, send_key = '', send_count = 0, first_sent_at = null"
    await accounts.value(f"update invoice set {before}")
    await accounts.post(placed)
    voided = await accounts.order(placed.name)
    assert (voided.invoice.state, voided.invoice.number) == (_S.VOIDED, placed.invoice.number)
    assert [letter[1] for letter in await letters(accounts)] == ["INVOICE_VOIDED"]
    assert accounts.booked() == []
    async with accounts.working():
        await retry(accounts, placed.name)
        await accounts.until(placed.name, "AUTHORISED")
    assert len(accounts.booked()) == 1


@pytest.mark.parametrize("end", ["cancelled", "changed"])
async def test_an_invoice_voided_in_xero_is_done_with_when_its_order_goes_another_way(
    accounts: Accounts, end: str
) -> None:
    async with accounts.working():
        placed = await voided_there(accounts)
        if end == "cancelled":
            await cancel(accounts, placed.name)
        else:
            await change(accounts, placed.name, "300")
            await accounts.until(placed.name, "AUTHORISED")
        assert await letters(accounts) == []
    assert len(accounts.booked()) == (end == "changed")


@pytest_asyncio.fixture
async def drafts(dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Accounts]:
    """Accounts that leave drafts in the books."""
    async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
        await orders.fill(database)
    async with accounts_server(tmp_path, dsn, redis_url, variables={"XERO_INVOICE_STATUS": "DRAFT"}) as running:
        await running.connect()
        yield running


async def test_a_draft_of_another_total_stays_a_draft_until_it_is_asked_for_again(drafts: Accounts) -> None:
    drafts.sandbox.faults.script("wrong_total", method="PUT", path="Invoices")
    placed = await drafts.placed()
    async with drafts.working():
        await drafts.until(placed.name, "MISMATCH")
        assert [each["status"] for each in drafts.booked(alive=False)] == ["DRAFT"]
        await retry(drafts, placed.name)
        order = await drafts.until(placed.name, "DRAFT")
    [booked] = drafts.booked()
    assert (booked["status"], Decimal(booked["total"])) == ("DRAFT", total(order))


async def test_a_number_that_is_anothers_is_told_and_not_taken_for_ours(accounts: Accounts) -> None:
    placed = await accounts.placed()
    async with xero_client(accounts.sandbox) as client:
        await book(client, placed.invoice.number, Reference="somebody's")
    async with accounts.working():
        stuck = await accounts.until(placed.name, "NEEDS_ATTENTION")
    assert "another invoice with the number" in stuck.invoice.last_error
    assert [letter[1] for letter in await letters(accounts)] == ["INVOICE_NUMBER_TAKEN"]
    assert len(accounts.booked()) == 1


async def test_without_a_connection_it_waits_and_is_taken_up_when_there_is_one(accounts: Accounts) -> None:
    accounts.sandbox.identity.disconnect()
    placed = await accounts.placed()
    async with accounts.working():
        stuck = await accounts.until(placed.name, "NEEDS_ATTENTION")
        assert [letter[1] for letter in await letters(accounts)] == ["ACCOUNTING_NOT_CONNECTED"]
        assert stuck.invoice.last_error
        await accounts.following.take_up()  # not connected yet: nothing happens
        assert (await accounts.order(placed.name)).invoice.state == _S.NEEDS_ATTENTION
        accounts.sandbox.identity.connect()
        await accounts.connect()
        await accounts.following.take_up()
        await accounts.until(placed.name, "AUTHORISED")
    assert len(accounts.booked()) == 1


async def test_orders_confirmed_before_there_is_an_accounting_system_are_booked_later(
    dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
        await orders.fill(database)
    async with orders.shop_server(tmp_path, dsn, redis_url, invoicing=Invoices(connected=False)) as shop:
        placed = await shop.placed()
        assert placed.invoice.state == _S.NOT_CONNECTED
    async with accounts_server(tmp_path / "later", dsn, redis_url) as accounts:
        await accounts.connect()
        await accounts.following.take_up()
        async with accounts.working():
            await accounts.until(placed.name, "AUTHORISED")
        assert len(accounts.booked()) == 1


async def test_retrying_is_done_once_and_only_where_something_gave_up(accounts: Accounts) -> None:
    accounts.sandbox.faults.script("validation_error", method="PUT", path="Invoices")
    placed = await accounts.placed()
    async with accounts.working():
        await accounts.until(placed.name, "NEEDS_ATTENTION")
        key, who = new_key(), accounts.who()
        request = rpc.RetryInvoiceRequest(order=placed.name, request_id=key)
        first = await accounts.accounting.RetryInvoice(request, metadata=who)
        await accounts.until(placed.name, "AUTHORISED")
        call = accounts.accounting.RetryInvoice(request, metadata=who)
        assert await call == first
        assert dict(await call.trailing_metadata())["x-idempotent-replay"] == "true"
    for name, code, why in (
        (placed.name, grpc.StatusCode.FAILED_PRECONDITION, "INVOICE_NOT_RETRYABLE"),
        ("orders/nobody", grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await retry(accounts, name)
        assert (refused.value.code(), reason(refused.value)) == (code, why)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await accounts.accounting.RetryInvoice(
            rpc.RetryInvoiceRequest(order=placed.name, request_id=new_key()), metadata=accounts.who(tenant="other")
        )
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert len(await accounts.leaves("INVOICE_RETRY")) == 1


async def _gone(accounts: Accounts) -> None:
    async def so() -> bool:
        return not accounts.booked()

    await eventually(so)
