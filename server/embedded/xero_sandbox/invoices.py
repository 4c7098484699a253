"""Sales invoices: made, changed, approved, deleted and voided by the moves that Xero allows."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from server.embedded.xero_sandbox import contacts
from server.embedded.xero_sandbox.ledger import Call, Ledger, Missing, Refused, Reply, new_id, save_each
from server.embedded.xero_sandbox.listing import list_documents
from server.embedded.xero_sandbox.pricing import check_approved, price, set_day
from server.embedded.xero_sandbox.wire import Document, ms_date, web_address

KIND = "invoice"

_MOVES: Mapping[str, frozenset[str]] = {
    "DRAFT": frozenset({"DRAFT", "SUBMITTED", "AUTHORISED", "DELETED"}),
    "SUBMITTED": frozenset({"DRAFT", "SUBMITTED", "AUTHORISED", "DELETED"}),
    "AUTHORISED": frozenset({"AUTHORISED", "VOIDED"}),
    "PAID": frozenset(),
    "VOIDED": frozenset(),
    "DELETED": frozenset(),
}
_TAKEN = ("InvoiceNumber", "Reference", "Url", "CurrencyRate", "SentToContact", "ExpectedPaymentDate")
_SHORT = ("LineItems", "Payments", "CreditNotes", "Prepayments", "Overpayments")


def get_invoices(call: Call) -> Reply:
    store_ = call.ledger.store
    numbers = call.names("InvoiceNumbers")
    if numbers is None or call.since:
        found = store_.all(KIND, call.since)
    else:  # by index: a client asks so after each unknown outcome, and there may be thousands
        found = [invoice for number in sorted(numbers) for invoice in store_.by_number(KIND, number)]
    return list_documents(call, "Invoices", found, shorten=_shorten)


def get_invoice(call: Call) -> Reply:
    return Reply({"Invoices": [named(call.ledger, call.id)]})


def put_invoices(call: Call) -> Reply:
    return save_each(call, "Invoices", lambda sent: _create(call, sent))


def post_invoices(call: Call) -> Reply:
    """Changes the invoice that InvoiceID or InvoiceNumber names; without one it is made."""
    return save_each(call, "Invoices", lambda sent: _create_or_change(call, sent))


def post_invoice(call: Call) -> Reply:
    invoice = named(call.ledger, call.id)
    return save_each(call, "Invoices", lambda sent: _change(call, invoice, sent))


def get_online_invoice(call: Call) -> Reply:
    invoice = named(call.ledger, call.id)
    return Reply({"OnlineInvoices": [{"OnlineInvoiceUrl": f"https://in.xero.example/{invoice['InvoiceID']}"}]})


def named(ledger: Ledger, name: str) -> Document:
    """By id or by number, both of which Xero takes in the path. Raises Missing."""
    found = ledger.store.get(KIND, name) or next(iter(ledger.store.by_number(KIND, name)), None)
    if found is None:
        raise Missing
    return found


def settle(ledger: Ledger, invoice: Document, *, paid: Decimal = Decimal(0), credited: Decimal = Decimal(0)) -> None:
    """Takes a payment or a credit off what is due; nothing left is PAID."""
    if invoice["Status"] != "AUTHORISED":
        raise Refused([f"The invoice is {invoice['Status']}; only an AUTHORISED one can be paid or credited"])
    if not Decimal(0) < paid + credited <= invoice["AmountDue"]:
        raise Refused(["The amount must be more than zero and not more than what is outstanding on this document"])
    invoice["AmountPaid"] += paid
    invoice["AmountCredited"] += credited
    _due(invoice)
    if not invoice["AmountDue"]:
        invoice["Status"] = "PAID"
        invoice["FullyPaidOnDate"] = ms_date(ledger.clock())
    store(ledger, invoice, "UPDATE")


def void(ledger: Ledger, invoice: Document) -> None:
    """VOIDED or, of a draft, DELETED. Raises Refused."""
    _move(invoice, "VOIDED" if invoice["Status"] == "AUTHORISED" else "DELETED")
    store(ledger, invoice, "UPDATE")


def store(ledger: Ledger, invoice: Document, event: str) -> None:
    """Keeps it and tells who listens."""
    id = invoice["InvoiceID"]
    updated = ledger.stamp(invoice)
    ledger.store.put(KIND, id, invoice, number=invoice["InvoiceNumber"], updated=updated)
    ledger.announce("INVOICE", event, f"Invoices/{id}", id)
    ledger.store.next(f"changes of {id}")


def _create_or_change(call: Call, sent: Document) -> Document:
    store_ = call.ledger.store
    if "InvoiceID" in sent:
        found = store_.get(KIND, sent["InvoiceID"])
        if found is None:
            raise Refused(["The invoice with this InvoiceID could not be found"])
        return _change(call, found, sent)
    same = store_.by_number(KIND, sent.get("InvoiceNumber") or "")
    return _change(call, same[0], sent) if same else _create(call, sent)


def _create(call: Call, sent: Document) -> Document:
    if sent.get("Type") != "ACCREC":
        raise Refused(["The sandbox books sales invoices only: Type must be ACCREC"])
    number = sent.get("InvoiceNumber") or f"INV-{call.ledger.store.next('invoice number'):04d}"
    if call.ledger.store.by_number(KIND, number):
        raise Refused(["Invoice # must be unique."])
    if sent.get("Status", "DRAFT") not in _MOVES["DRAFT"] - {"DELETED"}:
        raise Refused([f"A new invoice cannot be {sent['Status']}"])
    invoice: Document = {
        "Type": "ACCREC",
        "InvoiceID": new_id(),
        "InvoiceNumber": number,
        "Reference": "",
        "Status": "DRAFT",
        "CurrencyCode": call.ledger.currency,
        "CurrencyRate": Decimal(1),
        "LineAmountTypes": "Exclusive",
        "LineItems": [],
        **dict.fromkeys(
            ("SubTotal", "TotalTax", "Total", "AmountDue", "AmountPaid", "AmountCredited"), Decimal("0.00")
        ),
        "Payments": [],
        "CreditNotes": [],
        "SentToContact": False,
        "HasAttachments": False,
    }
    _apply(call, invoice, {"LineItems": [], **sent})
    if "Contact" not in invoice:
        raise Refused(["A Contact must be specified for this type of transaction"])
    store(call.ledger, invoice, "CREATE")
    return _shown(invoice)


def _change(call: Call, invoice: Document, sent: Document) -> Document:
    if not _MOVES[invoice["Status"]]:
        raise Refused([f"The invoice is {invoice['Status']} and can no longer be changed"])
    number = sent.get("InvoiceNumber")
    if number and number != invoice["InvoiceNumber"] and call.ledger.store.by_number(KIND, number):
        raise Refused(["Invoice # must be unique."])
    _apply(call, invoice, sent)
    store(call.ledger, invoice, "UPDATE")
    return _shown(invoice)


def _apply(call: Call, invoice: Document, sent: Document) -> None:
    """Sets what was sent and moves to the status that is asked for. Raises Refused."""
    if sent.get("CurrencyCode", invoice["CurrencyCode"]) != call.ledger.currency:
        raise Refused([f"The organisation does not use the currency {sent['CurrencyCode']}"])
    if "Url" in sent and web_address(sent["Url"]) is None:
        raise Refused(["Url must be an absolute http or https address"])
    if "Contact" in sent:
        invoice["Contact"] = contacts.for_document(call.ledger, sent["Contact"])
    invoice |= {name: sent[name] for name in _TAKEN if name in sent}
    set_day(invoice, "Date", sent.get("Date") or (None if "Date" in invoice else ms_date(call.ledger.clock())))
    set_day(invoice, "DueDate", sent.get("DueDate"))
    if _priced(sent) and invoice["AmountPaid"] + invoice["AmountCredited"]:
        raise Refused(["The lines of an invoice with payments or credits cannot be changed"])
    price(call, invoice, sent)
    _due(invoice)
    _move(invoice, str(sent.get("Status", invoice["Status"])))
    if invoice["Status"] in {"SUBMITTED", "AUTHORISED"}:
        check_approved(call.ledger, invoice, "DueDate")


def _priced(sent: Document) -> bool:
    return bool(sent.get("LineItems"))


def _move(invoice: Document, status: str) -> None:
    if status not in _MOVES[invoice["Status"]]:
        raise Refused([f"An invoice that is {invoice['Status']} cannot become {status}"])
    if status in {"VOIDED", "DELETED"}:
        if invoice["AmountPaid"] or invoice["AmountCredited"]:
            raise Refused(["An invoice with payments or credits cannot be voided"])
        invoice["AmountDue"] = Decimal("0.00")
    invoice["Status"] = status


def _due(invoice: Document) -> None:
    invoice["AmountDue"] = invoice["Total"] - invoice["AmountPaid"] - invoice["AmountCredited"]


def _shown(invoice: Document) -> Document:
    return {**invoice, "HasErrors": False}


def _shorten(invoice: Document) -> Document:
    return {**invoice, **{name: [] for name in _SHORT if name in invoice}}
