"""What people see of accounting: the connection, the budget, what gave up; and who may see it."""

from __future__ import annotations

import grpc
import pytest

from server.accounting import invoice_jobs, invoice_store
from server.accounting.invoice_jobs import Entry
from server.caller import Role
from server.jobs import enqueue
from tests.support.accounting import Accounts
from tests.support.orders import TENANT, bare, new_key
from tests.support.reading import reason
from tests.support.stores import eventually
from tria.accounting.v1 import accounting_pb2
from tria.accounting.v1 import accounting_service_pb2 as rpc
from tria.order.v1 import order_pb2

CODES = grpc.StatusCode


async def test_the_connection_is_shown_as_it_is(accounts: Accounts) -> None:
    seen = await accounts.accounting.GetConnection(rpc.GetConnectionRequest(), metadata=accounts.who())
    assert seen.state == accounting_pb2.Connection.CONNECTED
    assert seen.organisation
    other = await accounts.accounting.GetConnection(rpc.GetConnectionRequest(), metadata=accounts.who(tenant="other"))
    assert (other.state, other.organisation) == (accounting_pb2.Connection.NOT_CONNECTED, "")


async def test_the_budget_shows_what_is_left_and_what_waits(accounts: Accounts) -> None:
    before = await accounts.accounting.GetBudget(rpc.GetBudgetRequest(), metadata=accounts.who())
    assert before.minute_remaining == before.minute_limit > 0
    assert (before.queued_jobs, before.degraded) == (0, False)
    placed = await accounts.placed()
    waiting = await accounts.accounting.GetBudget(rpc.GetBudgetRequest(), metadata=accounts.who())
    assert waiting.queued_jobs == 1
    async with accounts.working():
        await accounts.until(placed.name, "AUTHORISED")
    after = await accounts.accounting.GetBudget(rpc.GetBudgetRequest(), metadata=accounts.who())
    assert after.minute_remaining < before.minute_remaining
    assert after.queued_jobs == 0


@pytest.mark.parametrize("method", ["GetConnection", "GetBudget", "ListDeadLetters", "RetryInvoice"])
async def test_customers_see_nothing_of_it(accounts: Accounts, method: str) -> None:
    fields = {"order": "orders/x", "request_id": new_key()} if method == "RetryInvoice" else {}
    request = getattr(rpc, f"{method}Request")(**fields)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(accounts.accounting, method)(request, metadata=accounts.who(Role.CUSTOMER))
    assert (refused.value.code(), reason(refused.value)) == (CODES.PERMISSION_DENIED, "PERMISSION_MISSING")


async def test_what_is_not_asked_rightly_is_refused(accounts: Accounts) -> None:
    for request in (
        rpc.RetryInvoiceRequest(order="orders/x"),  # no request_id
        rpc.RetryInvoiceRequest(order="x", request_id=new_key()),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await accounts.accounting.RetryInvoice(request, metadata=accounts.who())
        assert refused.value.code() is CODES.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await accounts.accounting.ListDeadLetters(
            rpc.ListDeadLettersRequest(page_token="forged"), metadata=accounts.who()
        )
    assert reason(refused.value) == "PAGE_TOKEN_INVALID"


async def test_dead_letters_come_in_pages_newest_first_and_to_their_tenant_only(accounts: Accounts) -> None:
    placed = await accounts.many(5)
    await accounts.value(
        "update invoice set state = 'NEEDS_ATTENTION', error_reason = 'ACCOUNTING_REJECTED', error_message = 'no', "
        "failed_at = now() - make_interval(secs => total::float * 10)"
    )
    seen: list[str] = []
    token = ""
    while True:
        page = await accounts.accounting.ListDeadLetters(
            rpc.ListDeadLettersRequest(page_size=2, page_token=token), metadata=accounts.who()
        )
        assert len(page.dead_letters) <= 2
        seen += [each.order for each in page.dead_letters]
        if not (token := page.next_page_token):
            break
    assert seen == [order.name for order in placed]
    none = await accounts.accounting.ListDeadLetters(
        rpc.ListDeadLettersRequest(), metadata=accounts.who(tenant="other")
    )
    assert not none.dead_letters


async def test_a_held_job_is_listed_and_runs_again_when_asked(accounts: Accounts) -> None:
    placed = await accounts.placed()
    await accounts.value("update pgqueuer set status = 'failed' where entrypoint = 'post_invoice'")
    listed = await accounts.accounting.ListDeadLetters(rpc.ListDeadLettersRequest(), metadata=accounts.who())
    [letter] = listed.dead_letters
    assert (letter.order, letter.reason) == (placed.name, "INTERNAL")
    assert letter.fix
    request = rpc.RetryInvoiceRequest(order=placed.name, request_id=new_key())
    await accounts.accounting.RetryInvoice(request, metadata=accounts.who())
    async with accounts.working():
        await accounts.until(placed.name, "AUTHORISED")
    assert len(accounts.booked()) == 1


async def test_what_is_held_waits_for_a_person_and_can_be_asked_for_whatever_waits_beside_it(
    accounts: Accounts,
) -> None:
    placed = await accounts.placed()
    await accounts.value("update pgqueuer set status = 'failed' where entrypoint = 'post_invoice'")
    await accounts.value("update invoice set update_time = now() - interval '10 minutes'")
    await accounts.following.take_up()
    assert await states(accounts) == ["failed"], "a person is to look at it"
    async with accounts.database.transaction() as connection:  # as an older release had left it
        invoice = await invoice_store.lock(connection, TENANT, bare(placed.name), 1)
        assert invoice is not None
        await invoice_jobs.ask(connection, Entry.POST, invoice)
    assert await states(accounts) == ["failed", "queued"]
    request = rpc.RetryInvoiceRequest(order=placed.name, request_id=new_key())
    await accounts.accounting.RetryInvoice(request, metadata=accounts.who())
    assert await states(accounts) == ["queued"]
    async with accounts.working():
        await accounts.until(placed.name, "AUTHORISED")
    assert len(accounts.booked()) == 1


async def test_only_what_a_person_can_mend_is_listed_and_the_clock_sees_to_the_rest(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        await eventually(lambda: _none_waits(accounts))
    async with accounts.database.transaction() as connection:
        invoice = await invoice_store.lock(connection, TENANT, bare(placed.name), 1)
        assert invoice is not None
        for entry in (Entry.POST, Entry.NOTE):  # the invoice is where it should be
            await invoice_jobs.ask(connection, entry, invoice)
        await invoice_jobs.ask_fetch(connection, TENANT, "some-id")
        await invoice_jobs.ask_reconcile(connection, TENANT)
        await connection.execute("update pgqueuer set status = 'failed'")
        await enqueue(connection, "something_else", b"no JSON")
        await connection.execute("update pgqueuer set status = 'failed'")
    listed = await accounts.accounting.ListDeadLetters(rpc.ListDeadLettersRequest(), metadata=accounts.who())
    assert not listed.dead_letters
    await accounts.following.reconcile_all()
    async with accounts.database.connection() as connection:
        left = await connection.fetch("select entrypoint, status::text from pgqueuer order by id")
    assert [tuple(row) for row in left] == [("something_else", "failed"), ("reconcile_invoices", "queued")]


async def states(accounts: Accounts) -> list[str]:
    async with accounts.database.connection() as connection:
        return [row["status"] for row in await connection.fetch("select status::text from pgqueuer order by id")]


async def _none_waits(accounts: Accounts) -> bool:
    return not await states(accounts)


async def test_what_nobody_works_on_is_taken_up(accounts: Accounts) -> None:
    placed = await accounts.placed()
    await accounts.value("delete from pgqueuer")
    await accounts.following.take_up()
    assert await accounts.value("select count(*) from pgqueuer") == 0, "it may be on its way"
    await accounts.value("update invoice set update_time = now() - interval '10 minutes'")
    await accounts.following.take_up()
    await accounts.following.take_up()
    assert await accounts.value("select count(*) from pgqueuer") == 1
    async with accounts.working():
        await accounts.until(placed.name, "AUTHORISED")


async def test_reconciliation_finds_what_webhooks_did_not_tell(accounts: Accounts) -> None:
    async with accounts.working():
        first, second = await accounts.many(2)
        for order in (first, second):
            await accounts.until(order.name, "AUTHORISED")
        accounts.sandbox.pay(first.invoice.number)
        accounts.sandbox.void(second.invoice.number)
        await accounts.following.reconcile_all()
        await accounts.until(first.name, "PAID")
        await accounts.until(second.name, "VOIDED")
    assert await accounts.value("select read_until > now() - interval '1 minute' from reconciliation")


async def test_reconciliation_comes_back_to_what_a_worker_has(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        await eventually(lambda: _none_waits(accounts))
        accounts.sandbox.pay(placed.invoice.number)
    await accounts.value("update invoice set taken_until = now() + interval '1 hour'")
    await accounts.following.reconcile(f'{{"tenant": "{TENANT}"}}'.encode())
    assert (await accounts.order(placed.name)).invoice.state == order_pb2.Invoice.AUTHORISED
    await accounts.value("update invoice set taken_until = null")
    async with accounts.working():
        await accounts.until(placed.name, "PAID")


async def test_reconciliation_goes_on_where_it_was_interrupted(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed()
        await accounts.until(placed.name, "AUTHORISED")
        accounts.sandbox.pay(placed.invoice.number)
        accounts.sandbox.faults.script("minute_limit", method="GET", path="Invoices")
        await accounts.following.reconcile_all()
        await accounts.until(placed.name, "PAID")

    async def done() -> bool:
        sql = "select count(*) from pgqueuer where entrypoint = 'reconcile_invoices'"
        return not await accounts.value(sql)

    async with accounts.working():
        await eventually(done)
    assert bare(placed.name)
    assert await accounts.value("select count(*) from reconciliation where tenant = $1", TENANT) == 1
