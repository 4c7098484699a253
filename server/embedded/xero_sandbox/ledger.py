"""What every endpoint works on: the store, the clock, the organisation's rates, and the news for webhooks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from server.embedded.xero_sandbox.settings import Clock
from server.embedded.xero_sandbox.store import Store
from server.embedded.xero_sandbox.wire import Document, Malformed, ms_date, read_since

_FLAG = {"Contacts": "HasValidationErrors", "Payments": "HasValidationErrors"}  # all others have HasErrors

Announce = Callable[[str, str, str, str], None]  # category, type, path below the API, resource id


class Refused(Exception):
    """Xero's 400 for what it will not book; `elements` are its Elements, one for each refused resource."""

    def __init__(self, messages: Sequence[str], elements: Sequence[Document] = ()) -> None:
        super().__init__("; ".join(messages))
        self.messages = tuple(messages)
        self.elements = tuple(elements) or ({"ValidationErrors": validation_errors(messages)},)


class Missing(Exception):
    """Xero's 404."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """One organisation. `announce` queues a webhook event in the transaction that is open."""

    store: Store
    clock: Clock
    currency: str
    rates: Mapping[str, Decimal]  # percent by tax type
    accounts: Mapping[str, Document]  # by code
    announce: Announce

    def stamp(self, document: Document) -> float:
        """Sets the document's UpdatedDateUTC and returns that moment."""
        now = round(self.clock(), 3)
        document["UpdatedDateUTC"] = ms_date(now)
        return now


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request. `id` is the path's, `body` what the client sent, `wrong_by` a scripted fault."""

    ledger: Ledger
    method: str
    query: Mapping[str, str]
    body: Document
    id: str = ""
    if_modified_since: str = ""
    wrong_by: Decimal = Decimal(0)

    @property
    def since(self) -> float:
        return read_since(self.if_modified_since) if self.if_modified_since else 0.0

    def flag(self, name: str, *, default: bool) -> bool:
        """A query value that must be true or false, as JSON writes it. Raises Malformed."""
        text = self.query.get(name)
        if text is None:
            return default
        if text not in {"true", "false"}:
            raise Malformed(f"{name} must be true or false, not {text[:20]!r}")
        return text == "true"

    def number(self, name: str, *, default: int, most: int) -> int:
        """A whole number of the query from 1 on. Raises Malformed."""
        text = self.query.get(name, str(default))
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
            raise Malformed(f"{name} must be a number from 1 to {most}, not {text[:20]!r}")
        return int(text)

    def names(self, *names: str) -> frozenset[str] | None:
        """A comma-separated list of the query, None when it is not asked for."""
        for name in names:
            if name in self.query:
                return frozenset(part.strip() for part in self.query[name].split(",") if part.strip())
        return None


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back; a body of None is no JSON."""

    body: Document
    status: int = 200


def validation_errors(messages: Sequence[str]) -> list[Document]:
    return [{"Message": message} for message in messages]


def new_id() -> str:
    return str(uuid.uuid4())


def save_each(call: Call, name: str, save: Callable[[Document], Document]) -> Reply:
    """Saves every resource of the body. `summarizeErrors=false`: each for itself, errors beside the refused ones;
    otherwise all or none."""
    apart = not call.flag("summarizeErrors", default=True)
    results: list[Document] = []
    refused: list[Document] = []
    for sent in call.body[name]:
        try:
            with call.ledger.store.transaction():
                results.append(save(sent) | {"StatusAttributeString": "OK"})
        except Refused as error:
            errors = {_FLAG.get(name, "HasErrors"): True, "ValidationErrors": validation_errors(error.messages)}
            refused.append({**sent, **errors})
            results.append({**sent, **errors, "StatusAttributeString": "ERROR"})
    if refused and not apart:
        messages = [error["Message"] for element in refused for error in element["ValidationErrors"]]
        raise Refused(messages, refused)
    return Reply({name: results})
