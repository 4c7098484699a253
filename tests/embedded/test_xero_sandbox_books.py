"""What the sandbox books, and what it refuses to: amounts, moves, numbers, contacts, payments, credits, lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from server.embedded.xero_sandbox.sandbox import Sandbox
from server.embedded.xero_sandbox.totals import complete
from server.embedded.xero_sandbox.wire import dumps, loads
from tests.support.xero import MovableClock, book, invoice, money, xero_client, xero_sandbox

RATES = {"OUTPUT": Decimal(9), "OUTPUT15": Decimal(15), "NONE": Decimal(0)}


@pytest_asyncio.fixture
async def client(xero_sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with xero_client(xero_sandbox) as made:
        yield made


def line(quantity: str, price: str, tax_type: str = "OUTPUT") -> dict[str, Any]:
    return {"Quantity": Decimal(quantity), "UnitAmount": Decimal(price), "TaxType": tax_type}


@pytest.mark.parametrize(
    ("amounts", "lines", "expected"),
    [
        ("Exclusive", [line("100", "0.65")], ("65.00", "5.85", "70.85")),
        ("Exclusive", [line("1", "50.50")], ("50.50", "4.55", "55.05")),  # 4.545: half up
        # Xero's own example: rounded by line 11.44, rounded at the end it would be 11.45
        ("Exclusive", [line("1", p, "OUTPUT15") for p in ("25.06", "25.61", "25.63")], ("76.30", "11.44", "87.74")),
        ("Exclusive", [line("3", "0.6525")], ("1.96", "0.18", "2.14")),
        ("Inclusive", [line("1", "109.00")], ("100.00", "9.00", "109.00")),
        ("NoTax", [line("2", "10.00")], ("20.00", "0.00", "20.00")),
        ("Exclusive", [], ("0.00", "0.00", "0.00")),
    ],
)
def test_totals(amounts: str, lines: list[dict[str, Any]], expected: tuple[str, str, str]) -> None:
    assert complete(lines, amounts, RATES) == tuple(map(Decimal, expected))


@given(
    st.lists(st.tuples(st.integers(1, 10_000), st.decimals("0.0001", "999.9999", places=4)), min_size=1, max_size=20),
    st.sampled_from(["Exclusive", "Inclusive", "NoTax"]),
)
def test_totals_are_the_sum_of_their_lines(lines: list[tuple[int, Decimal]], amounts: str) -> None:
    made = [line(str(quantity), str(price)) for quantity, price in lines]
    subtotal, tax, total = complete(made, amounts, RATES)
    assert subtotal + tax == total
    assert tax == sum(one["TaxAmount"] for one in made)
    assert (total if amounts == "Inclusive" else subtotal) == sum(one["LineAmount"] for one in made)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_keeps_every_digit(value: object) -> None:
    assert loads(dumps(value)) == value


async def test_unit_prices_have_the_decimals_that_are_asked_for(client: httpx.AsyncClient) -> None:
    lines = [{"Description": "Box", "Quantity": 1000, "UnitAmount": 0.6525, "AccountCode": "200", "TaxType": "NONE"}]
    two = await client.put("Invoices", json={"Invoices": [invoice("TWO", LineItems=lines)]})
    four = await client.put("Invoices?unitdp=4", json={"Invoices": [invoice("FOUR", LineItems=lines)]})
    assert money(two.json()["Invoices"][0]["Total"]) == Decimal(650)
    assert money(four.json()["Invoices"][0]["Total"]) == Decimal("652.5")


async def test_totals_that_a_client_sends_are_passed_over(client: httpx.AsyncClient) -> None:
    (booked,) = await book(client, SubTotal=1, TotalTax=1, Total=2)
    assert money(booked["Total"]) == Decimal("70.85")


async def test_a_number_is_taken_once(client: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    await book(client, "T-1")
    again = await client.put("Invoices", json={"Invoices": [invoice("T-1")]})
    assert again.status_code == 400
    assert again.json()["Type"] == "ValidationException"
    assert again.json()["Elements"][0]["ValidationErrors"] == [{"Message": "Invoice # must be unique."}]
    assert [one["number"] for one in xero_sandbox.state()["invoices"]] == ["T-1"]


async def test_a_batch_is_booked_whole_or_not_at_all_unless_each_stands_for_itself(
    client: httpx.AsyncClient, xero_sandbox: Sandbox
) -> None:
    batch = {"Invoices": [invoice("A"), invoice("B", Type="ACCPAY"), invoice("C", DueDate=None)]}
    whole = await client.put("Invoices", json=batch)
    assert whole.status_code == 400
    assert len(whole.json()["Elements"]) == 2
    assert xero_sandbox.state()["counts"]["invoices"] == xero_sandbox.state()["counts"]["contacts"] == 0

    apart = await client.put("Invoices?summarizeErrors=false", json=batch)
    assert apart.status_code == 200
    assert [one["StatusAttributeString"] for one in apart.json()["Invoices"]] == ["OK", "ERROR", "ERROR"]
    assert [one["HasErrors"] for one in apart.json()["Invoices"]] == [False, True, True]
    assert "DueDate" in apart.json()["Invoices"][2]["ValidationErrors"][0]["Message"]
    assert [one["number"] for one in xero_sandbox.state()["invoices"]] == ["A"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"LineItems": []}, "line items"),
        ({"Contact": None}, "Contact"),
        ({"Contact": {"ContactID": "00000000-0000-0000-0000-000000000000"}}, "ContactID"),
        ({"CurrencyCode": "EUR"}, "EUR"),
        ({"Url": "javascript:alert(1)"}, "Url"),
        ({"Url": "http://["}, "Url"),
        ({"Date": "yesterday"}, "not a date"),
        ({"Status": "PAID"}, "PAID"),
        ({"LineItems": [{"Description": "x", "AccountCode": "999"}]}, "999"),
        ({"LineItems": [{"Description": "x", "AccountCode": "425"}]}, "425"),
        ({"LineItems": [{"Description": "x", "AccountCode": "200", "TaxType": "VAT"}]}, "VAT"),
        ({"LineItems": [{"Description": "x", "AccountCode": "200", "ItemCode": "PB-1"}]}, "PB-1"),
        ({"LineItems": [{"AccountCode": "200", "UnitAmount": 1}]}, "Description"),
        ({"LineItems": [{"Description": "x", "UnitAmount": 1}]}, "Account code"),
    ],
)
async def test_what_is_not_booked(client: httpx.AsyncClient, changes: dict[str, Any], complaint: str) -> None:
    answer = await client.put("Invoices", json={"Invoices": [invoice(**changes)]})
    assert answer.status_code == 400, answer.text
    assert complaint in answer.json()["Elements"][0]["ValidationErrors"][0]["Message"]


@pytest.mark.parametrize(
    ("status", "wanted", "allowed"),
    [
        ("DRAFT", "SUBMITTED", True),
        ("DRAFT", "AUTHORISED", True),
        ("DRAFT", "DELETED", True),
        ("DRAFT", "VOIDED", False),
        ("DRAFT", "PAID", False),
        ("SUBMITTED", "DELETED", True),
        ("SUBMITTED", "VOIDED", False),
        ("AUTHORISED", "VOIDED", True),
        ("AUTHORISED", "DELETED", False),
        ("AUTHORISED", "DRAFT", False),
    ],
)
async def test_moves(client: httpx.AsyncClient, status: str, wanted: str, allowed: bool) -> None:
    (booked,) = await book(client, Status=status)
    moved = await client.post(f"Invoices/{booked['InvoiceID']}", json={"Invoices": [{"Status": wanted}]})
    assert moved.status_code == (200 if allowed else 400)
    now = (await client.get("Invoices/T-1")).json()["Invoices"][0]["Status"]
    assert now == (wanted if allowed else status)


@pytest.mark.parametrize("end", ["pay", "void"])
async def test_an_invoice_at_its_end_stays_as_it_is(client: httpx.AsyncClient, xero_sandbox: Sandbox, end: str) -> None:
    await book(client)
    getattr(xero_sandbox, end)("T-1")
    for change in ({"Status": "VOIDED"}, {"Reference": "other"}, {"Status": "AUTHORISED"}):
        assert (await client.post("Invoices/T-1", json={"Invoices": [change]})).status_code == 400


async def test_post_changes_the_invoice_of_that_number_or_makes_it(client: httpx.AsyncClient) -> None:
    first = (await client.post("Invoices", json={"Invoices": [invoice("U", Status="DRAFT")]})).json()["Invoices"][0]
    again = (await client.post("Invoices", json={"Invoices": [invoice("U", Reference="r")]})).json()["Invoices"][0]
    assert again["InvoiceID"] == first["InvoiceID"]
    assert (again["Status"], again["Reference"]) == ("AUTHORISED", "r")


async def test_contacts_are_one_for_each_number_and_name(client: httpx.AsyncClient, xero_sandbox: Sandbox) -> None:
    first = await book(client, "A", "B")
    assert len({one["Contact"]["ContactID"] for one in first}) == 1
    other = {"ContactNumber": "outlet-2", "Name": "corner pizza "}
    refused = await client.put("Contacts", json={"Contacts": [other]})
    assert "Names must be unique" in refused.json()["Elements"][0]["ValidationErrors"][0]["Message"]
    renamed = await client.post("Contacts", json={"Contacts": [{"ContactNumber": "outlet-1", "Name": "Old Corner"}]})
    assert renamed.json()["Contacts"][0]["ContactID"] == first[0]["Contact"]["ContactID"]
    assert (await client.put("Contacts", json={"Contacts": [other]})).status_code == 200
    found = await client.get("Contacts", params={"where": 'ContactNumber=="outlet-2"'})
    assert [one["Name"] for one in found.json()["Contacts"]] == ["corner pizza "]
    assert xero_sandbox.state()["counts"]["contacts"] == 2


async def test_an_archived_contact_gets_no_invoice(client: httpx.AsyncClient) -> None:
    await book(client)
    await client.post("Contacts/outlet-1", json={"Contacts": [{}]})
    id = (await client.get("Contacts/outlet-1")).json()["Contacts"][0]["ContactID"]
    await client.post(f"Contacts/{id}", json={"Contacts": [{"ContactStatus": "ARCHIVED"}]})
    refused = await client.put("Invoices", json={"Invoices": [invoice("T-2")]})
    assert "archived" in refused.text


async def test_payments_end_in_paid(client: httpx.AsyncClient) -> None:
    (booked,) = await book(client)
    part = {"Invoice": {"InvoiceID": booked["InvoiceID"]}, "Account": {"Code": "090"}, "Date": "2026-03-10"}
    await client.put("Payments", json={"Payments": [part | {"Amount": 70.84}]})
    now = (await client.get("Invoices/T-1")).json()["Invoices"][0]
    assert (now["Status"], money(now["AmountDue"])) == ("AUTHORISED", Decimal("0.01"))
    assert (await client.post("Invoices/T-1", json={"Invoices": [{"Status": "VOIDED"}]})).status_code == 400
    too_much = await client.put("Payments", json={"Payments": [part | {"Amount": 0.02}]})
    assert too_much.status_code == 400
    await client.put("Payments", json={"Payments": [part | {"Amount": 0.01}]})
    now = (await client.get("Invoices/T-1")).json()["Invoices"][0]
    assert (now["Status"], len(now["Payments"])) == ("PAID", 2)


async def test_a_credit_note_is_set_against_an_invoice(client: httpx.AsyncClient) -> None:
    (booked,) = await book(client)
    credit = {k: v for k, v in invoice().items() if k not in {"InvoiceNumber", "DueDate"}}
    credit |= {"Type": "ACCRECCREDIT", "CreditNoteNumber": "C-1"}
    made = await client.put("CreditNotes", json={"CreditNotes": [credit]})
    assert money(made.json()["CreditNotes"][0]["RemainingCredit"]) == Decimal("70.85")
    assert "unique" in (await client.put("CreditNotes", json={"CreditNotes": [credit]})).text
    share = {"Invoice": {"InvoiceID": booked["InvoiceID"]}, "Amount": 70.86, "Date": "2026-03-11"}
    assert (await client.put("CreditNotes/C-1/Allocations", json={"Allocations": [share]})).status_code == 400
    share["Amount"] = 70.85
    assert (await client.put("CreditNotes/C-1/Allocations", json={"Allocations": [share]})).status_code == 200
    now = (await client.get("Invoices/T-1")).json()["Invoices"][0]
    assert (now["Status"], money(now["AmountCredited"])) == ("PAID", Decimal("70.85"))
    assert (await client.get("CreditNotes/C-1")).json()["CreditNotes"][0]["Status"] == "PAID"


async def test_history_is_kept_with_its_invoice(client: httpx.AsyncClient) -> None:
    await book(client)
    assert (await client.put("Invoices/T-1/History", json={"HistoryRecords": [{"Details": "sent"}]})).status_code == 200
    records = (await client.get("Invoices/T-1/History")).json()["HistoryRecords"]
    assert [record["Details"] for record in records] == ["sent"]


async def test_lists(client: httpx.AsyncClient) -> None:
    await book(client, *(f"L-{number}" for number in range(1, 6)))
    await client.post("Invoices/L-2", json={"Invoices": [{"Status": "VOIDED"}]})
    numbers = await client.get("Invoices?InvoiceNumbers=L-1,L-3,L-9")
    assert [one["InvoiceNumber"] for one in numbers.json()["Invoices"]] == ["L-1", "L-3"]
    assert all(one["LineItems"] == [] for one in numbers.json()["Invoices"])
    page = (await client.get("Invoices?page=2&pageSize=2&order=InvoiceNumber DESC")).json()
    assert page["pagination"] == {"page": 2, "pageSize": 2, "pageCount": 3, "itemCount": 5}
    assert [one["InvoiceNumber"] for one in page["Invoices"]] == ["L-3", "L-2"]
    assert page["Invoices"][0]["LineItems"]
    short = (await client.get("Invoices?page=1&summaryOnly=true&Statuses=VOIDED")).json()["Invoices"]
    assert [(one["InvoiceNumber"], one["LineItems"]) for one in short] == [("L-2", [])]
    for bad in ("summaryOnly=True", "page=0", "page=x", "where=Total>5", "order=1;drop"):
        assert (
            await client.get(f"Invoices?{bad}&page=1" if "page" not in bad else f"Invoices?{bad}")
        ).status_code == 400


async def test_only_what_changed_since() -> None:
    clock = MovableClock()
    async with xero_sandbox(clock=clock) as sandbox, xero_client(sandbox) as client:
        await book(client, "OLD", "CHANGED")
        clock.now += 60
        await client.post("Invoices/CHANGED", json={"Invoices": [{"Reference": "new"}]})
        await book(client, "NEW")
        found = await client.get("Invoices?page=1", headers={"If-Modified-Since": "2026-09-21T14:14:00"})
        assert [one["InvoiceNumber"] for one in found.json()["Invoices"]] == ["CHANGED", "NEW"]
        none = await client.get("Invoices?page=1", headers={"If-Modified-Since": "Thu, 01 Oct 2026 00:00:00 GMT"})
        assert none.json()["Invoices"] == []
        assert (await client.get("Invoices", headers={"If-Modified-Since": "soon"})).status_code == 400
