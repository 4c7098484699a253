"""Items: what lines may name by ItemCode."""

from __future__ import annotations

from server.embedded.xero_sandbox.ledger import Call, Missing, Refused, Reply, new_id, save_each
from server.embedded.xero_sandbox.wire import Document

_KIND = "item"
_KEPT = ("Code", "Name", "Description", "PurchaseDescription", "SalesDetails", "PurchaseDetails")


def get_items(call: Call) -> Reply:
    return Reply({"Items": list(call.ledger.store.all(_KIND, call.since))})


def get_item(call: Call) -> Reply:
    """By id or by code."""
    found = call.ledger.store.get(_KIND, call.id) or next(iter(call.ledger.store.by_number(_KIND, call.id)), None)
    if found is None:
        raise Missing
    return Reply({"Items": [found]})


def put_items(call: Call) -> Reply:
    return save_each(call, "Items", lambda sent: _save(call, None, sent))


def post_items(call: Call) -> Reply:
    """Changes the item of the same code, makes it otherwise."""

    def save(sent: Document) -> Document:
        return _save(call, next(iter(call.ledger.store.by_number(_KIND, sent["Code"])), None), sent)

    return save_each(call, "Items", save)


def _save(call: Call, existing: Document | None, sent: Document) -> Document:
    store = call.ledger.store
    if existing is None and store.by_number(_KIND, sent["Code"]):
        raise Refused([f"Price List Item with Code '{sent['Code']}' already exists"])
    item: Document = {"ItemID": new_id(), "IsSold": True, "IsPurchased": False, "IsTrackedAsInventory": False}
    item |= existing or {}
    item |= {name: sent[name] for name in _KEPT if name in sent}
    updated = call.ledger.stamp(item)
    store.put(_KIND, item["ItemID"], item, number=item["Code"], updated=updated)
    return item
