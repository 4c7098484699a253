"""Contacts: one for each ContactNumber, and no two active ones of one name."""

from __future__ import annotations

from functools import partial

from server.embedded.xero_sandbox.ledger import Call, Ledger, Missing, Refused, Reply, new_id, save_each
from server.embedded.xero_sandbox.listing import list_documents
from server.embedded.xero_sandbox.wire import Document

_KIND = "contact"
_PASSED_OVER = {"HasErrors", "HasValidationErrors", "ValidationErrors", "StatusAttributeString", "Warnings"}


def get_contacts(call: Call) -> Reply:
    documents = call.ledger.store.all(_KIND, call.since)
    if term := call.query.get("searchTerm", "").lower():
        documents = [found for found in documents if term in f"{found['Name']} {found['ContactNumber']}".lower()]
    return list_documents(call, "Contacts", documents, shorten=lambda document: document)


def get_contact(call: Call) -> Reply:
    """By id, or by ContactNumber, which Xero takes in the same place."""
    found = call.ledger.store.get(_KIND, call.id)
    if found is None:
        found = next(iter(call.ledger.store.by_number(_KIND, call.id)), None)
    if found is None:
        raise Missing
    return Reply({"Contacts": [found]})


def put_contacts(call: Call) -> Reply:
    return save_each(call, "Contacts", partial(_save, call.ledger, None))


def post_contacts(call: Call) -> Reply:
    """Changes the contact that ContactID or ContactNumber names, makes it otherwise."""
    return save_each(call, "Contacts", lambda sent: _save(call.ledger, find(call.ledger, sent), sent))


def post_contact(call: Call) -> Reply:
    existing = call.ledger.store.get(_KIND, call.id)
    if existing is None:
        raise Missing
    return save_each(call, "Contacts", partial(_save, call.ledger, existing))


def find(ledger: Ledger, sent: Document) -> Document | None:
    """The contact that ContactID, else ContactNumber, else the name of an active one means."""
    if "ContactID" in sent:
        found = ledger.store.get(_KIND, sent["ContactID"])
        if found is None:
            raise Refused(["The contact with this ContactID could not be found."])
        return found
    if number := sent.get("ContactNumber"):
        if same := ledger.store.by_number(_KIND, number):
            return same[0]
    elif name := sent.get("Name"):
        return next(iter(_active(ledger, name)), None)
    return None


def for_document(ledger: Ledger, sent: Document | None) -> Document:
    """The contact of an invoice: the one that is meant, or a new one of that name. What documents keep of it."""
    contact = find(ledger, sent or {})
    if contact is None:
        contact = _save(ledger, None, sent or {})
    if contact["ContactStatus"] != "ACTIVE":
        raise Refused(["The contact is archived."])
    return {name: contact[name] for name in ("ContactID", "ContactNumber", "Name", "ContactStatus") if contact[name]}


def _save(ledger: Ledger, existing: Document | None, sent: Document) -> Document:
    defaults = {"ContactID": new_id(), "ContactNumber": "", "ContactStatus": "ACTIVE", "IsSupplier": False}
    kept = {name: value for name, value in sent.items() if name not in _PASSED_OVER}
    contact = {**(existing or defaults), **kept}
    contact["ContactID"] = (existing or defaults)["ContactID"]
    name = contact.get("Name", "").strip()
    if not name:
        raise Refused(["The contact name must be specified."])
    others = [other for other in _active(ledger, name) if other["ContactID"] != contact["ContactID"]]
    if others and contact["ContactStatus"] == "ACTIVE":
        raise Refused([f"The contact name {name} is already assigned to another contact. Names must be unique."])
    number = contact["ContactNumber"]
    if number and [o for o in ledger.store.by_number(_KIND, number) if o["ContactID"] != contact["ContactID"]]:
        raise Refused([f"The contact number {number} is already assigned to another contact."])
    now = ledger.stamp(contact)
    ledger.store.put(_KIND, contact["ContactID"], contact, number=number, updated=now)
    path = f"Contacts/{contact['ContactID']}"
    ledger.announce("CONTACT", "UPDATE" if existing else "CREATE", path, contact["ContactID"])
    return contact


def _active(ledger: Ledger, name: str) -> list[Document]:
    wanted = name.strip().casefold()
    everybody = ledger.store.all(_KIND)
    return [c for c in everybody if c["ContactStatus"] == "ACTIVE" and c["Name"].strip().casefold() == wanted]
