"""How Xero lists: by id, number and state, by a small `where`, ordered, and in pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from server.embedded.xero_sandbox.ledger import Call, Reply
from server.embedded.xero_sandbox.wire import Document, Malformed, moment_of

_TERM = re.compile(r'\s*([A-Za-z]+(?:\.[A-Za-z]+)?)\s*==?\s*(?:"([^"]*)"|guid\("([^"]*)"\))\s*', re.IGNORECASE)
_ORDER = re.compile(r"([A-Za-z]+)(?:\s+(ASC|DESC))?", re.IGNORECASE)
_MOST_A_PAGE = 1_000


def list_documents(
    call: Call, name: str, documents: Sequence[Document], *, shorten: Callable[[Document], Document]
) -> Reply:
    """The documents that the query asks for. Without `page` and with `summaryOnly` they come shortened, as in Xero."""
    chosen = [document for document in documents if _wanted(call, document)]
    if order := call.query.get("order"):
        chosen = _ordered(chosen, order)
    if "page" not in call.query:
        return Reply({name: [shorten(document) for document in chosen]})
    page = call.number("page", default=1, most=1_000_000)
    size = call.number("pageSize", default=100, most=_MOST_A_PAGE)
    part = chosen[(page - 1) * size : page * size]
    if call.flag("summaryOnly", default=False):
        part = [shorten(document) for document in part]
    pages = -(-len(chosen) // size)
    return Reply(
        {"pagination": {"page": page, "pageSize": size, "pageCount": pages, "itemCount": len(chosen)}, name: part}
    )


def _wanted(call: Call, document: Document) -> bool:
    for fields, names in (
        (("InvoiceID", "ContactID", "CreditNoteID"), call.names("IDs", "ids")),
        (("InvoiceNumber",), call.names("InvoiceNumbers")),
        (("Status",), call.names("Statuses")),
    ):
        if names is not None and not any(document.get(field) in names for field in fields):
            return False
    return all(str(_at(document, path)).lower() == value.lower() for path, value in _terms(call.query.get("where", "")))


def _terms(where: str) -> Sequence[tuple[str, str]]:
    """`Field=="value" AND …`: all of Xero's language that this understands."""
    if not where:
        return ()
    terms = []
    for part in re.split(r"\s+AND\s+|&&", where, flags=re.IGNORECASE):
        found = _TERM.fullmatch(part)
        if found is None:
            raise Malformed(f"where: {part[:60]!r} is not understood by the sandbox")
        terms.append((found[1], found[2] if found[2] is not None else found[3]))
    return terms


def _at(document: Document, path: str) -> Any:
    value: Any = document
    for name in path.split("."):
        value = value.get(name, "") if isinstance(value, dict) else ""
    return value


def _ordered(documents: Sequence[Document], order: str) -> list[Document]:
    found = _ORDER.fullmatch(order.strip())
    if found is None:
        raise Malformed(f"order: {order[:60]!r} is not understood by the sandbox")
    name, backwards = found[1], (found[2] or "ASC").upper() == "DESC"
    if name == "UpdatedDateUTC":
        return sorted(documents, key=lambda document: moment_of(document[name]), reverse=backwards)
    return sorted(documents, key=lambda document: str(document.get(name, "")), reverse=backwards)
