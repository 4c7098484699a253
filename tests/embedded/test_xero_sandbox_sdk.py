"""Xero's own SDK against the sandbox, for every kind of call that a client of ours makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio
from xero_python import accounting as xero
from xero_python.accounting import AccountingApi
from xero_python.api_client import ApiClient, Configuration
from xero_python.api_client.oauth2 import OAuth2Token
from xero_python.exceptions import AccountingBadRequestException, RateLimitException
from xero_python.identity import IdentityApi

from server.embedded.xero_sandbox.faults import FaultKind
from server.embedded.xero_sandbox.sandbox import Sandbox
from server.embedded.xero_sandbox.settings import TENANT_ID
from tests.support.xero import CLIENT, fetch_token

EACH = "false"  # summarizeErrors; the SDK would write a Python False as "False"


@pytest_asyncio.fixture
async def sdk(xero_sandbox: Sandbox) -> AsyncIterator[ApiClient]:
    async with httpx.AsyncClient() as client:
        token: dict[str, Any] = {"access_token": await fetch_token(client, xero_sandbox), "token_type": "Bearer"}
    token |= {"expires_in": 1_800, "expires_at": 1e12, "scope": ["accounting.invoices"]}
    configuration = Configuration()  # a copy of the first one of this process, whatever it is given
    configuration.oauth2_token = OAuth2Token(client_id=CLIENT[0], client_secret=CLIENT[1])
    made = ApiClient(configuration, pool_threads=1)
    made.rest_client.pool_manager.connection_pool_kw["retries"] = False
    made.oauth2_token_getter(lambda: token)
    made.oauth2_token_saver(lambda _: None)
    yield made
    made.rest_client.pool_manager.clear()


@pytest.fixture
def api(sdk: ApiClient, xero_sandbox: Sandbox) -> AccountingApi:
    return AccountingApi(sdk, base_url=xero_sandbox.api_url.rstrip("/"))


def line(quantity: str = "3", price: str = "0.6525") -> Any:
    return xero.LineItem(
        description="Box", quantity=Decimal(quantity), unit_amount=Decimal(price), account_code="200", tax_type="OUTPUT"
    )


def invoice(number: str, **changes: Any) -> Any:
    fields = {
        "type": "ACCREC",
        "invoice_number": number,
        "contact": xero.Contact(contact_number="outlet-1", name="Corner & Sons"),
        "date": date(2026, 3, 2),
        "due_date": date(2026, 4, 1),
        "line_amount_types": xero.LineAmountTypes("Exclusive"),
        "currency_code": xero.CurrencyCode.SGD,
        "status": "AUTHORISED",
        "reference": "order-1",
        "url": "http://localhost:8080/orders/1",
        "line_items": [line()],
    }
    return xero.Invoice(**fields | changes)


def create(api: AccountingApi, *made: Any, **options: Any) -> Any:
    body = xero.Invoices(invoices=list(made))
    return api.create_invoices(TENANT_ID, body, summarize_errors=EACH, unitdp=4, **options).invoices


def whole_day(api: AccountingApi) -> None:
    """Book, read, list, note, credit, pay."""
    (booked,) = create(api, invoice("S-1"), idempotency_key="k-1")
    assert (booked.sub_total, booked.total_tax, booked.total) == (Decimal("1.96"), Decimal("0.18"), Decimal("2.14"))
    assert (booked.status, booked.has_errors, booked.date) == ("AUTHORISED", False, date(2026, 3, 2))
    (again,) = create(api, invoice("S-1"), idempotency_key="k-1")
    assert again.invoice_id == booked.invoice_id
    assert api.get_invoice(TENANT_ID, booked.invoice_id).invoices[0].line_items[0].unit_amount == Decimal("0.6525")
    since = datetime(2020, 1, 1)  # noqa: DTZ001  # the SDK takes UTC without a zone
    for wanted in (
        {"invoice_numbers": ["S-1", "S-9"]},
        {"if_modified_since": since, "page": 1, "summary_only": "true"},
    ):
        assert [one.invoice_number for one in api.get_invoices(TENANT_ID, **wanted).invoices] == ["S-1"]
    note = xero.HistoryRecords(history_records=[xero.HistoryRecord(details="Booked for order 1")])
    api.create_invoice_history(TENANT_ID, booked.invoice_id, note, idempotency_key="k-2")
    contacts = api.get_contacts(TENANT_ID, where='ContactNumber=="outlet-1"').contacts
    assert [contact.name for contact in contacts] == ["Corner & Sons"]
    credit_and_pay(api, booked)


def credit_and_pay(api: AccountingApi, booked: Any) -> None:
    credit = xero.CreditNote(
        type="ACCRECCREDIT",
        contact=xero.Contact(contact_id=booked.contact.contact_id),
        date=date(2026, 3, 3),
        status="AUTHORISED",
        line_amount_types=xero.LineAmountTypes("Exclusive"),
        line_items=[line("1", "0.50")],
    )
    notes = xero.CreditNotes(credit_notes=[credit])
    (made,) = api.create_credit_notes(TENANT_ID, notes, summarize_errors=EACH).credit_notes
    meant = xero.Invoice(invoice_id=booked.invoice_id)
    share = xero.Allocation(invoice=meant, amount=Decimal("0.55"), date=date(2026, 3, 3))
    api.create_credit_note_allocation(TENANT_ID, made.credit_note_id, xero.Allocations(allocations=[share]))
    payment = xero.Payment(
        invoice=meant, account=xero.Account(code="090"), amount=Decimal("1.59"), date=date(2026, 3, 4)
    )
    api.create_payments(TENANT_ID, xero.Payments(payments=[payment]))
    now = api.get_invoice(TENANT_ID, booked.invoice_id).invoices[0]
    assert (now.status, now.amount_credited, now.amount_due) == ("PAID", Decimal("0.55"), Decimal(0))
    assert api.get_online_invoice(TENANT_ID, booked.invoice_id).online_invoices[0].online_invoice_url


async def test_a_whole_day(api: AccountingApi, xero_sandbox: Sandbox) -> None:
    await asyncio.to_thread(whole_day, api)
    assert xero_sandbox.journal.violations() == []
    assert xero_sandbox.state()["invoices"][0]["history"] == ["Booked for order 1"]


async def test_the_organisation(api: AccountingApi, sdk: ApiClient, xero_sandbox: Sandbox) -> None:
    def look() -> None:
        (connection,) = IdentityApi(sdk, base_url=xero_sandbox.url).get_connections()
        assert connection.tenant_id == TENANT_ID
        assert api.get_organisations(TENANT_ID).organisations[0].base_currency == xero.CurrencyCode.SGD
        rates = {rate.tax_type: rate.effective_rate for rate in api.get_tax_rates(TENANT_ID).tax_rates}
        assert rates["OUTPUT"] == Decimal(9)
        assert "200" in {account.code for account in api.get_accounts(TENANT_ID).accounts}
        items = xero.Items(items=[xero.Item(code="PB-12", name="Box")])
        assert api.create_items(TENANT_ID, items).items[0].item_id

    await asyncio.to_thread(look)
    assert xero_sandbox.journal.violations() == []


async def test_drafts_are_changed_and_deleted(api: AccountingApi, xero_sandbox: Sandbox) -> None:
    def change() -> list[str]:
        upsert = xero.Invoices(invoices=[invoice("S-2", status="DRAFT")])
        (made,) = api.update_or_create_invoices(TENANT_ID, upsert, summarize_errors=EACH).invoices
        delete = xero.Invoices(invoices=[xero.Invoice(status="DELETED")])
        (gone,) = api.update_invoice(TENANT_ID, made.invoice_id, delete).invoices
        return [made.status, gone.status]

    assert await asyncio.to_thread(change) == ["DRAFT", "DELETED"]
    assert xero_sandbox.journal.violations() == []


async def test_errors_arrive_as_the_sdks_own(api: AccountingApi, xero_sandbox: Sandbox) -> None:
    first, second = await asyncio.to_thread(create, api, invoice("S-3"), invoice("S-3"))
    assert (first.has_errors, second.has_errors) == (False, True)
    assert second.validation_errors[0].message == "Invoice # must be unique."
    body = xero.Invoices(invoices=[invoice("S-3")])
    with pytest.raises(AccountingBadRequestException) as refused:
        await asyncio.to_thread(api.create_invoices, TENANT_ID, body)
    assert refused.value.error_data["Elements"][0]["ValidationErrors"][0]["Message"] == "Invoice # must be unique."
    xero_sandbox.faults.script(FaultKind.DAY_LIMIT, seconds=9)
    with pytest.raises(RateLimitException) as over:
        await asyncio.to_thread(api.create_invoices, TENANT_ID, body)
    assert (over.value.rate_limit, over.value.headers["Retry-After"]) == ("day", "9")
