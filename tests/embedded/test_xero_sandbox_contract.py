"""The sandbox's own models and Xero's OpenAPI file agree; where that file is not at hand, the models stand alone."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from server.embedded.xero_sandbox import models
from server.embedded.xero_sandbox.contract import Contract
from server.embedded.xero_sandbox.endpoints import ENDPOINTS
from server.embedded.xero_sandbox.sandbox import Sandbox
from server.embedded.xero_sandbox.wire import dumps, loads
from tests.support.xero import book, invoice, openapi_file, xero_client

PAYMENT = {"Invoice": {"InvoiceNumber": "T-1"}, "Account": {"Code": "090"}, "Amount": 1.5, "Date": "2026-03-02"}
ALLOCATION = {"Invoice": {"InvoiceNumber": "T-1"}, "Amount": 1.5, "Date": "2026-03-02"}
CREDIT = {"Type": "ACCRECCREDIT", "Contact": {"Name": "A"}, "LineItems": [{"Description": "x", "Quantity": 1}]}
LINES = invoice()["LineItems"]

GOOD: list[tuple[str, Any]] = [
    ("Invoices", {"Invoices": [invoice()]}),
    ("Invoices", {"Invoices": [invoice(Url="https://desk.example/orders/1", Reference="r", SentToContact=False)]}),
    ("Invoices", {"Invoices": [{"InvoiceID": "5c3a1f0e-8f4d-4d0b-9a57-2f6f3f8a1d10", "Status": "VOIDED"}]}),
    ("Invoices", {"Invoices": [{"HasAttachments": False, "HasErrors": False, "Total": 12}]}),
    ("Contacts", {"Contacts": [{"Name": "A", "Phones": [{"PhoneType": "MOBILE", "PhoneNumber": "555"}]}]}),
    ("Items", {"Items": [{"Code": "PB-12", "SalesDetails": {"UnitPrice": 0.6525, "AccountCode": "200"}}]}),
    ("CreditNotes", {"CreditNotes": [CREDIT]}),
    ("Allocations", {"Allocations": [ALLOCATION]}),
    ("Payments", {"Payments": [PAYMENT]}),
    ("HistoryRecords", {"HistoryRecords": [{"Details": "booked"}]}),
]
BAD: list[tuple[str, Any]] = [
    ("Invoices", []),
    ("Invoices", {"Invoices": "nope"}),
    ("Invoices", {"Invoices": [invoice(Type="BOGUS")]}),
    ("Invoices", {"Invoices": [invoice(Status="SENT")]}),
    ("Invoices", {"Invoices": [invoice(InvoiceNumber="x" * 256)]}),
    ("Invoices", {"Invoices": [invoice(InvoiceNumber=7)]}),
    ("Invoices", {"Invoices": [invoice() | {"Reference": None}]}),
    ("Invoices", {"Invoices": [invoice(Date=20260302)]}),
    ("Invoices", {"Invoices": [invoice(SentToContact="yes")]}),
    ("Invoices", {"Invoices": [invoice(Contact="Corner Pizza")]}),
    ("Invoices", {"Invoices": [invoice(Contact={"Name": "x" * 256})]}),
    ("Invoices", {"Invoices": [invoice(LineItems={})]}),
    ("Invoices", {"Invoices": [invoice(LineItems=[LINES[0] | {"Quantity": "three"}])]}),
    ("Invoices", {"Invoices": [invoice(LineItems=[LINES[0] | {"UnitAmount": True}])]}),
    ("Invoices", {"Invoices": [invoice(LineItems=[LINES[0] | {"UnitAmount": "0.65"}])]}),
    ("Contacts", {"Contacts": [{"Name": "x" * 256}]}),
    ("Contacts", {"Contacts": [{"ContactNumber": "x" * 51}]}),
    ("Contacts", {"Contacts": [{"ContactStatus": "GONE"}]}),
    ("Contacts", {"Contacts": [{"Phones": [{"PhoneType": "HOME"}]}]}),
    ("Items", {"Items": [{"Name": "no code"}]}),
    ("Items", {"Items": [{"Code": "x" * 31}]}),
    ("Items", {"Items": [{"Code": "x", "Name": "x" * 51}]}),
    ("CreditNotes", {"CreditNotes": [CREDIT | {"Type": "ACCREC"}]}),
    ("CreditNotes", {"CreditNotes": CREDIT}),
    ("Allocations", {"Allocations": [{"Amount": 1.5, "Date": "2026-03-02"}]}),
    ("Allocations", {"Allocations": [ALLOCATION | {"Amount": "1.5"}]}),
    ("Payments", {"Payments": [PAYMENT | {"Amount": "abc"}]}),
    ("Payments", {"Payments": [PAYMENT | {"Status": "DONE"}]}),
    ("Payments", {"Payments": [PAYMENT | {"Invoice": "T-1"}]}),
    ("HistoryRecords", {"HistoryRecords": [{"Details": 7}]}),
]
# Xero's file allows these, because it lists no required names and forbids no others; a client never means them.
STRICTER: list[tuple[str, Any]] = [
    ("Invoices", {}),
    ("Invoices", {"Invoices": []}),
    ("Invoices", {"invoices": [invoice()]}),
    ("Invoices", {"Invoices": [invoice(InvoiceNo="T-1")]}),
    ("Invoices", {"Invoices": [invoice(LineItems=[LINES[0] | {"Price": 1}])]}),
    ("HistoryRecords", {"HistoryRecords": [{"Details": ""}]}),
]


@pytest.fixture(scope="module")
def contract() -> Contract | None:
    """Xero's own file; None where it is not at hand."""
    file = openapi_file()
    return Contract(file) if file else None


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any] | None:
    """What that file says of each name."""
    file = openapi_file()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(file.read_text(), Loader=loader)["components"]["schemas"] if file else None  # noqa: S506  # both are safe


def model_takes(schema: str, body: Any) -> bool:
    (model,) = {endpoint.model for endpoint in ENDPOINTS if endpoint.model and endpoint.schema == schema}
    try:
        model.model_validate(loads(dumps(body)))
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("schema", "body"), GOOD)
def test_both_take_what_is_good(contract: Contract | None, schema: str, body: Any) -> None:
    assert model_takes(schema, body)
    assert contract is None or contract.problems(schema, body) == []


@pytest.mark.parametrize(("schema", "body"), BAD)
def test_both_refuse_what_is_bad(contract: Contract | None, schema: str, body: Any) -> None:
    assert not model_takes(schema, body)
    assert contract is None or contract.problems(schema, body)


@pytest.mark.parametrize(("schema", "body"), STRICTER)
def test_the_models_refuse_slips_that_the_file_allows(contract: Contract | None, schema: str, body: Any) -> None:
    assert not model_takes(schema, body)
    assert contract is None or contract.problems(schema, body) == []


NAMED = {
    models.InvoiceIn: "Invoice",
    models.LineIn: "LineItem",
    models.ContactIn: "Contact",
    models.PhoneIn: "Phone",
    models.AddressIn: "Address",
    models.CreditNoteIn: "CreditNote",
    models.AllocationIn: "Allocation",
    models.PaymentIn: "Payment",
    models.ItemIn: "Item",
    models.PriceIn: "Purchase",
    models.HistoryIn: "HistoryRecord",
}


@pytest.mark.parametrize(("model", "schema"), NAMED.items())
def test_every_name_of_the_models_is_xeros(
    schemas: dict[str, Any] | None, model: type[models.Strict], schema: str
) -> None:
    """The file forbids no name, so a slip in ours would pass it unseen."""
    own = set(model.model_fields) - set(models.PassedOver.model_fields)
    assert own
    assert schemas is None or own <= set(schemas[schema]["properties"])


async def test_a_bad_body_is_refused_counted_and_listed(xero_sandbox: Sandbox) -> None:
    async with xero_client(xero_sandbox) as client:
        for body in ('{"Invoices": [{"Type": "BOGUS"}]}', "{", '{"Invoices": [{"Total": NaN}]}', "[" * 100_000):
            answer = await client.put("Invoices", content=body, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["Type"]) == (400, "PostDataInvalidException")
        form = await client.put("Invoices", content="{}", headers={"Content-Type": "text/plain"})
        assert form.status_code == 400
        listed = (await client.get(f"{xero_sandbox.url}/sandbox/violations")).json()
    assert listed["count"] == xero_sandbox.state()["violations"] == 5
    assert {one["side"] for one in listed["violations"]} == {"request"}
    assert "Type" in listed["violations"][0]["problems"][0]
    assert xero_sandbox.state()["counts"]["invoices"] == 0


async def test_nothing_that_the_sandbox_answers_breaks_the_contract(xero_sandbox: Sandbox) -> None:
    """Every endpoint once; with Xero's file at hand each answer has been checked by it."""
    async with xero_client(xero_sandbox) as client:
        await book(client, "T-1", "T-2")
        await client.put("Items", json={"Items": [{"Code": "PB-12", "Name": "Box"}]})
        credit = deepcopy(CREDIT) | {"CreditNoteNumber": "C-1", "Status": "DRAFT"}
        await client.put("CreditNotes", json={"CreditNotes": [credit]})
        for endpoint in ENDPOINTS:
            kind = endpoint.path.partition("/")[0]
            id = {"Invoices": "T-1", "Contacts": "outlet-1", "Items": "PB-12", "CreditNotes": "C-1"}.get(kind, "")
            if endpoint.method == "GET":
                answer = await client.get(endpoint.path.format(id=id))
                assert answer.status_code == 200, (endpoint.name, answer.text)
        assert (await client.get("Invoices/T-9")).status_code == 404
        assert (await client.get("Bills")).status_code == 404
    assert xero_sandbox.journal.violations() == []
