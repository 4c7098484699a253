"""Payments: what makes an invoice PAID."""

from __future__ import annotations

from server.embedded.xero_sandbox import invoices
from server.embedded.xero_sandbox.ledger import Call, Ledger, Missing, Refused, Reply, new_id, save_each
from server.embedded.xero_sandbox.listing import list_documents
from server.embedded.xero_sandbox.organisation import BANK
from server.embedded.xero_sandbox.pricing import set_day
from server.embedded.xero_sandbox.wire import Document, ms_date

_KIND = "payment"


def get_payments(call: Call) -> Reply:
    found = call.ledger.store.all(_KIND, call.since)
    return list_documents(call, "Payments", found, shorten=lambda document: document)


def put_payments(call: Call) -> Reply:
    return save_each(call, "Payments", lambda sent: pay(call.ledger, sent))


def pay_in_full(ledger: Ledger, invoice: Document) -> Document:
    """As a person does in Xero's pages: all that is due, into the bank, today."""
    return pay(
        ledger,
        {
            "Invoice": {"InvoiceID": invoice["InvoiceID"]},
            "Account": {"Code": BANK},
            "Date": ms_date(ledger.clock()),
            "Amount": invoice["AmountDue"],
        },
    )


def pay(ledger: Ledger, sent: Document) -> Document:
    """Books one payment. Raises Refused."""
    invoice = _invoice(ledger, sent)
    account = _account(ledger, sent)
    payment: Document = {
        "PaymentID": new_id(),
        "PaymentType": "ACCRECPAYMENT",
        "Status": "AUTHORISED",
        "Amount": sent.get("Amount", invoice["AmountDue"]),
        "Reference": sent.get("Reference", ""),
        "CurrencyRate": invoice["CurrencyRate"],
        "IsReconciled": sent.get("IsReconciled", False),
        "HasAccount": True,
        "HasValidationErrors": False,
        "Account": {"AccountID": account["AccountID"], "Code": account["Code"]},
    }
    set_day(payment, "Date", sent.get("Date") or ms_date(ledger.clock()))
    payment.pop("DateString")
    invoice["Payments"].append({name: payment[name] for name in ("PaymentID", "Date", "Amount", "Reference")})
    invoices.settle(ledger, invoice, paid=payment["Amount"])
    shown = {name: invoice[name] for name in ("InvoiceID", "InvoiceNumber", "Type", "Contact", "CurrencyCode")}
    payment["Invoice"] = shown
    ledger.store.put(_KIND, payment["PaymentID"], payment, updated=ledger.stamp(payment))
    return payment


def _invoice(ledger: Ledger, sent: Document) -> Document:
    meant = sent.get("Invoice", {})
    name = meant.get("InvoiceID") or meant.get("InvoiceNumber") or sent.get("InvoiceNumber") or ""
    try:
        return invoices.named(ledger, name)
    except Missing as error:
        raise Refused(["The invoice of this payment could not be found"]) from error


def _account(ledger: Ledger, sent: Document) -> Document:
    meant = sent.get("Account", {})
    for account in ledger.accounts.values():
        if account["EnablePaymentsToAccount"] and (
            account["AccountID"] == meant.get("AccountID") or account["Code"] in {meant.get("Code"), sent.get("Code")}
        ):
            return account
    raise Refused(["Account could not be found, or takes no payments"])
