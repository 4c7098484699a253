"""The accounting API: which method and path does what, in which forms body and answer are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.embedded.xero_sandbox import (
    contacts,
    credit_notes,
    history,
    invoices,
    items,
    models,
    organisation,
    payments,
)
from server.embedded.xero_sandbox.ledger import Call, Reply


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`path` is below the API, with {id} for one segment. `schema` is Xero's name of the answer's form, and of the
    body's where there is a `model`."""

    method: str
    path: str
    do: Callable[[Call], Reply]
    schema: str
    model: type[models.Strict] | None = None

    @property
    def name(self) -> str:
        """For counting: PUT Invoices/{id}/History."""
        return f"{self.method} {self.path}"

    def match(self, method: str, segments: Sequence[str]) -> str | None:
        """The id in the path ("" without one), or None when this is not the endpoint."""
        own = self.path.split("/")
        if method != self.method or len(own) != len(segments):
            return None
        id = ""
        for mine, theirs in zip(own, segments, strict=True):
            if mine == "{id}":
                id = theirs
            elif mine != theirs:
                return None
        return id


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint("GET", "Contacts", contacts.get_contacts, "Contacts"),
    Endpoint("PUT", "Contacts", contacts.put_contacts, "Contacts", models.Contacts),
    Endpoint("POST", "Contacts", contacts.post_contacts, "Contacts", models.Contacts),
    Endpoint("GET", "Contacts/{id}", contacts.get_contact, "Contacts"),
    Endpoint("POST", "Contacts/{id}", contacts.post_contact, "Contacts", models.Contacts),
    Endpoint("GET", "Items", items.get_items, "Items"),
    Endpoint("PUT", "Items", items.put_items, "Items", models.Items),
    Endpoint("POST", "Items", items.post_items, "Items", models.Items),
    Endpoint("GET", "Items/{id}", items.get_item, "Items"),
    Endpoint("GET", "TaxRates", organisation.get_tax_rates, "TaxRates"),
    Endpoint("GET", "Accounts", organisation.get_accounts, "Accounts"),
    Endpoint("GET", "Organisation", organisation.get_organisation, "Organisations"),
    Endpoint("GET", "Invoices", invoices.get_invoices, "Invoices"),
    Endpoint("PUT", "Invoices", invoices.put_invoices, "Invoices", models.Invoices),
    Endpoint("POST", "Invoices", invoices.post_invoices, "Invoices", models.Invoices),
    Endpoint("GET", "Invoices/{id}", invoices.get_invoice, "Invoices"),
    Endpoint("POST", "Invoices/{id}", invoices.post_invoice, "Invoices", models.Invoices),
    Endpoint("GET", "Invoices/{id}/OnlineInvoice", invoices.get_online_invoice, "OnlineInvoices"),
    Endpoint("GET", "Invoices/{id}/History", history.get_history, "HistoryRecords"),
    Endpoint("PUT", "Invoices/{id}/History", history.put_history, "HistoryRecords", models.HistoryRecords),
    Endpoint("GET", "CreditNotes", credit_notes.get_credit_notes, "CreditNotes"),
    Endpoint("PUT", "CreditNotes", credit_notes.put_credit_notes, "CreditNotes", models.CreditNotes),
    Endpoint("GET", "CreditNotes/{id}", credit_notes.get_credit_note, "CreditNotes"),
    Endpoint("PUT", "CreditNotes/{id}/Allocations", credit_notes.put_allocations, "Allocations", models.Allocations),
    Endpoint("GET", "Payments", payments.get_payments, "Payments"),
    Endpoint("PUT", "Payments", payments.put_payments, "Payments", models.Payments),
)


def find(method: str, path: str) -> tuple[Endpoint, str] | None:
    """The endpoint of a path below the API, and the id in it."""
    segments = path.strip("/").split("/")
    for endpoint in ENDPOINTS:
        id = endpoint.match(method, segments)
        if id is not None:
            return endpoint, id
    return None
