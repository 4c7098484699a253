"""An order that is called off or changed takes its invoice out of the books: deleted, voided or credited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.caller import Role
from server.db.pool import Database, PoolSettings
from tests.support import orders
from tests.support.accounting import Accounts, accounts_server, cancel, change, total
from tests.support.orders import new_key
from tests.support.reading import kinds, text_of
from tests.support.stores import eventually
from tria.accounting.v1 import accounting_service_pb2
from tria.chat.v1 import chat_service_pb2 as chat
from tria.order.v1 import order_pb2

_S = order_pb2.Invoice.State


def statuses(accounts: Accounts) -> list[str]:
    return [each["status"] for each in accounts.booked(alive=False)]


def credit_notes(accounts: Accounts) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = accounts.sandbox.state()["credit_notes"]
    return found


async def fetch(accounts: Accounts, number: str) -> None:
    """What a webhook leads to."""
    found = await accounts.books.jobs.find("lumen", number)
    assert found is not None
    await accounts.following.observe("lumen", found)


async def test_an_authorised_invoice_is_voided(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        await cancel(accounts, placed.name)
        await accounts.until(placed.name, "VOIDED")
    assert statuses(accounts) == ["VOIDED"]
    assert [leaf["state"] for leaf in await accounts.leaves("INVOICE_VOID")] == ["VOIDED"]


@pytest_asyncio.fixture
async def drafts(dsn: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Accounts]:
    """Accounts that leave drafts in the books."""
    async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
        await orders.fill(database)
    async with accounts_server(tmp_path, dsn, redis_url, variables={"XERO_INVOICE_STATUS": "DRAFT"}) as running:
        await running.connect()
        yield running


async def test_a_draft_is_deleted(drafts: Accounts) -> None:
    async with drafts.working():
        placed = await drafts.placed()
        await drafts.until(placed.name, "DRAFT")
        await cancel(drafts, placed.name)
        await drafts.until(placed.name, "VOIDED")
    assert statuses(drafts) == ["DELETED"]


async def test_a_paid_invoice_is_credited_once(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        accounts.sandbox.pay(placed.invoice.number)
        await fetch(accounts, placed.invoice.number)
        await accounts.until(placed.name, "PAID")
        await cancel(accounts, placed.name)
        await accounts.until(placed.name, "VOIDED")
    assert statuses(accounts) == ["PAID"]
    assert [Decimal(note["total"]) for note in credit_notes(accounts)] == [total(placed)]


async def test_one_that_was_paid_without_our_knowing_is_credited(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        accounts.sandbox.pay(placed.invoice.number)
        await cancel(accounts, placed.name)
        await accounts.until(placed.name, "VOIDED")
    assert len(credit_notes(accounts)) == 1


@pytest.mark.parametrize("kind", ["reply_lost", "server_error", "reset"])
async def test_a_credit_note_of_unknown_outcome_is_not_booked_twice(accounts: Accounts, kind: str) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        accounts.sandbox.pay(placed.invoice.number)
        accounts.sandbox.faults.script(kind, method="PUT", path="CreditNotes")
        await cancel(accounts, placed.name)
        await accounts.until(placed.name, "VOIDED")
    assert len(credit_notes(accounts)) == 1


@pytest.mark.parametrize("kind", ["reply_lost", "server_error", "minute_limit"])
async def test_voiding_is_tried_until_it_is_done(accounts: Accounts, kind: str) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        accounts.sandbox.faults.script(kind, method="POST", path="Invoices")
        await cancel(accounts, placed.name)
        await accounts.until(placed.name, "VOIDED")
    assert statuses(accounts) == ["VOIDED"]


async def test_what_was_never_sent_is_never_sent(accounts: Accounts) -> None:
    placed = await accounts.placed()
    cancelled = await cancel(accounts, placed.name)
    assert cancelled.invoice.state == _S.VOIDED
    assert [(leaf["was"], leaf["state"]) for leaf in await accounts.leaves("INVOICE_VOID")] == [("QUEUED", "VOIDED")]
    async with accounts.working():
        await _idle(accounts)
    assert accounts.booked(alive=False) == []


@pytest.mark.parametrize(("kind", "books"), [("reply_lost", ["VOIDED"]), ("server_error", [])])
async def test_cancelled_while_its_outcome_is_unknown(accounts: Accounts, kind: str, books: list[str]) -> None:
    accounts.sandbox.faults.script(kind, method="PUT", path="Invoices")
    placed = await accounts.placed()
    await accounts.post(placed)
    assert (await accounts.order(placed.name)).invoice.state == _S.OUTCOME_UNKNOWN
    await cancel(accounts, placed.name)
    async with accounts.working():
        await accounts.until(placed.name, "VOIDED")
    assert statuses(accounts) == books


async def test_an_order_that_is_paid_in_xero_is_not_called_off_by_chat(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        accounts.sandbox.pay(placed.invoice.number)
        await accounts.following.reconcile_all()
        await accounts.until(placed.name, "PAID")
    who = accounts.who(Role.CUSTOMER)
    conversation = await accounts.desk.chat.CreateConversation(chat.CreateConversationRequest(), metadata=who)
    asked = chat.SendMessageRequest(conversation=conversation.name, text=f"please cancel my order {placed.number}")
    events = [event async for event in accounts.desk.chat.SendMessage(asked, metadata=who)]
    assert "proposal" not in kinds(events)
    assert placed.number in text_of(events)
    assert "paid" in text_of(events)
    assert (await accounts.order(placed.name)).state == placed.state


async def test_a_changed_order_voids_its_invoice_before_the_next_one_is_booked(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        changed = await change(accounts, placed.name, "300")
        assert (changed.revision, changed.invoice.state) == (2, _S.QUEUED)
        order = await accounts.until(placed.name, "AUTHORISED")
    assert order.invoice.number == f"{placed.invoice.number}-R2"
    [alive] = accounts.booked()
    assert (alive["number"], Decimal(alive["total"])) == (order.invoice.number, total(order))
    assert sorted(statuses(accounts)) == ["AUTHORISED", "VOIDED"]
    assert [row["replaces"] for row in await accounts.rows(placed.name)] == [None, 1]


async def test_changed_twice_before_anything_was_sent_only_the_last_is_booked(accounts: Accounts) -> None:
    placed = await accounts.placed()
    for quantity in ("250", "300"):
        await change(accounts, placed.name, quantity)
    async with accounts.working():
        order = await accounts.until(placed.name, "AUTHORISED")
    assert [each["number"] for each in accounts.booked(alive=False)] == [f"{placed.invoice.number}-R3"]
    assert total(order) == Decimal(accounts.booked()[0]["total"])


async def test_while_the_earlier_one_cannot_be_voided_the_next_one_waits_and_it_is_seen(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        accounts.sandbox.faults.script("validation_error", method="POST", path="Invoices", message="Period is locked")
        await change(accounts, placed.name, "300")
        stuck = await accounts.until(placed.name, "NEEDS_ATTENTION")
        assert "Period is locked" in stuck.invoice.last_error
        assert len(accounts.booked()) == 1
        await accounts.accounting.RetryInvoice(
            accounting_service_pb2.RetryInvoiceRequest(order=placed.name, request_id=new_key()), metadata=accounts.who()
        )
        order = await accounts.until(placed.name, "AUTHORISED")
    assert [Decimal(each["total"]) for each in accounts.booked()] == [total(order)]


async def mismatched(accounts: Accounts) -> order_pb2.Order:
    """An order whose invoice was booked with another total, and is voided for it."""
    accounts.sandbox.faults.script("wrong_total", method="PUT", path="Invoices", amount=Decimal("0.01"))
    placed = await accounts.placed()
    await accounts.until(placed.name, "MISMATCH")
    await _idle(accounts)
    assert statuses(accounts) == ["VOIDED"]
    return placed


async def test_a_voided_mismatch_is_not_in_the_way_of_the_next_revision(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await mismatched(accounts)
        await change(accounts, placed.name, "300")
        order = await accounts.until(placed.name, "AUTHORISED")
    assert [Decimal(each["total"]) for each in accounts.booked()] == [total(order)]
    assert [row["state"] for row in await accounts.rows(placed.name)] == ["VOIDED", "AUTHORISED"]


async def test_a_voided_mismatch_of_a_cancelled_order_is_done_with(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await mismatched(accounts)
        cancelled = await cancel(accounts, placed.name)
        assert cancelled.invoice.state == _S.VOIDED
    assert statuses(accounts) == ["VOIDED"]


@pytest.mark.parametrize("refusal", ["validation_error", "minute_limit"])
async def test_refused_after_it_was_withdrawn_it_is_not_in_the_way(accounts: Accounts, refusal: str) -> None:
    """Withdrawn while it is being sent, and then refused: nobody needs to mend what nobody wants."""
    accounts.sandbox.faults.script("slow_before", path="Contacts", seconds=Decimal(1))
    accounts.sandbox.faults.script(refusal, method="PUT", path="Invoices")
    placed = await accounts.placed()
    posting = asyncio.create_task(accounts.post(placed))
    await eventually(lambda: _sending(accounts, placed.name))
    await change(accounts, placed.name, "300")
    await posting
    assert [row["state"] for row in await accounts.rows(placed.name)] == ["VOIDED", "QUEUED"]
    async with accounts.working():
        await accounts.until(placed.name, "AUTHORISED")
    assert [each["number"] for each in accounts.booked(alive=False)] == [f"{placed.invoice.number}-R2"]


async def _sending(accounts: Accounts, name: str) -> bool:
    return [row["state"] for row in await accounts.rows(name)] == ["SENDING"]


async def _idle(accounts: Accounts) -> None:
    async def so() -> bool:
        return not await accounts.value("select count(*) from pgqueuer")

    await eventually(so)
