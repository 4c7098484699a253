"""Credit notes of customers, and what of them is set against invoices."""

from __future__ import annotations

from decimal import Decimal

from server.embedded.xero_sandbox import contacts, invoices
from server.embedded.xero_sandbox.ledger import Call, Missing, Refused, Reply, new_id, save_each
from server.embedded.xero_sandbox.listing import list_documents
from server.embedded.xero_sandbox.pricing import check_approved, price, set_day
from server.embedded.xero_sandbox.wire import Document, ms_date

KIND = "credit note"


def get_credit_notes(call: Call) -> Reply:
    found = call.ledger.store.all(KIND, call.since)
    return list_documents(call, "CreditNotes", found, shorten=lambda note: {**note, "LineItems": []})


def get_credit_note(call: Call) -> Reply:
    return Reply({"CreditNotes": [_named(call)]})


def put_credit_notes(call: Call) -> Reply:
    return save_each(call, "CreditNotes", lambda sent: _create(call, sent))


def put_allocations(call: Call) -> Reply:
    """Sets some of the note's credit against invoices, all of the body or none."""
    note = _named(call)
    if note["Status"] != "AUTHORISED":
        raise Refused([f"The credit note is {note['Status']}; only an AUTHORISED one can be allocated"])
    return Reply({"Allocations": [_allocate(call, note, sent) for sent in call.body["Allocations"]]})


def _named(call: Call) -> Document:
    store = call.ledger.store
    found = store.get(KIND, call.id) or next(iter(store.by_number(KIND, call.id)), None)
    if found is None:
        raise Missing
    return found


def _create(call: Call, sent: Document) -> Document:
    ledger = call.ledger
    if sent.get("Type") != "ACCRECCREDIT":
        raise Refused(["The sandbox books credits to customers only: Type must be ACCRECCREDIT"])
    number = sent.get("CreditNoteNumber") or f"CN-{ledger.store.next('credit note number'):04d}"
    if ledger.store.by_number(KIND, number):
        raise Refused(["Credit Note # must be unique."])
    status = sent.get("Status", "DRAFT")
    if status not in {"DRAFT", "SUBMITTED", "AUTHORISED"}:
        raise Refused([f"A new credit note cannot be {status}"])
    note: Document = {
        "Type": "ACCRECCREDIT",
        "CreditNoteID": new_id(),
        "CreditNoteNumber": number,
        "Reference": sent.get("Reference", ""),
        "Status": status,
        "Contact": contacts.for_document(ledger, sent.get("Contact")),
        "CurrencyCode": ledger.currency,
        "CurrencyRate": Decimal(1),
        "LineAmountTypes": "Exclusive",
        "Allocations": [],
        "HasErrors": False,
    }
    set_day(note, "Date", sent.get("Date") or ms_date(ledger.clock()))
    price(call, note, {"LineItems": [], **sent})
    note["RemainingCredit"] = note["Total"]
    if status != "DRAFT":
        check_approved(ledger, note, "Date")
    _store(call, note, "CREATE")
    return note


def _allocate(call: Call, note: Document, sent: Document) -> Document:
    meant = sent["Invoice"]
    try:
        invoice = invoices.named(call.ledger, meant.get("InvoiceID") or meant.get("InvoiceNumber") or "")
    except Missing as error:
        raise Refused(["The invoice of this allocation could not be found"]) from error
    if sent["Amount"] > note["RemainingCredit"]:
        raise Refused(["The amount is more than what remains of the credit note"])
    if invoice["Contact"]["ContactID"] != note["Contact"]["ContactID"]:
        raise Refused(["The invoice and the credit note must be of the same contact"])
    allocation: Document = {"AllocationID": new_id(), "Amount": sent["Amount"]}
    set_day(allocation, "Date", sent["Date"])
    allocation.pop("DateString")
    shown = {"CreditNoteID": note["CreditNoteID"], "CreditNoteNumber": note["CreditNoteNumber"]}
    invoice["CreditNotes"].append({**shown, "AppliedAmount": sent["Amount"]})
    invoices.settle(call.ledger, invoice, credited=sent["Amount"])
    allocation["Invoice"] = {name: invoice[name] for name in ("InvoiceID", "InvoiceNumber")}
    note["Allocations"].append(allocation)
    note["RemainingCredit"] -= sent["Amount"]
    if not note["RemainingCredit"]:
        note["Status"] = "PAID"
    _store(call, note, "UPDATE")
    return allocation


def _store(call: Call, note: Document, event: str) -> None:
    id = note["CreditNoteID"]
    updated = call.ledger.stamp(note)
    call.ledger.store.put(KIND, id, note, number=note["CreditNoteNumber"], updated=updated)
    call.ledger.announce("CREDITNOTE", event, f"CreditNotes/{id}", id)
