"""An order as it is stored, and the same as JSON for the feed of changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

from server.order.invoicing import InvoiceState, InvoiceView
from server.order.money import Money
from server.order.pricing import FEE, Line, Priced, Provenance
from server.order.states import State


@dataclass(frozen=True, slots=True)
class Order:
    """An order of an outlet. Amounts are in `currency`; `lines` are products, `fee_lines` the rest.

    `revision` counts what was confirmed or changed after that; `version` counts every change and is the etag.
    """

    id: str
    number: str
    outlet: str
    state: State
    revision: int
    version: int
    currency: str
    lines: tuple[Line, ...]
    fee_lines: tuple[Line, ...]
    delivery_date: date
    note: str
    conversation: str
    hold_reasons: tuple[str, ...]
    create_time: datetime
    update_time: datetime
    duplicate_of: str = ""
    duplicate_asked: str = ""  # the request that was refused for it
    person: str = ""  # who placed it
    invoice: InvoiceView | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return f"orders/{self.id}"

    @property
    def etag(self) -> str:
        return f'W/"{self.version}"'

    @property
    def priced(self) -> Priced:
        """The order's lines as they were priced."""
        return Priced(self.currency, self.lines, self.fee_lines, self.delivery_date, ())


def as_snapshot(order: Order) -> str:
    """JSON of the order without anything that people wrote, and without whose it is: that may be erased, events are
    kept."""
    impersonal = replace(order, note="", person="", lines=tuple(_without_words(line) for line in order.lines))
    return orjson.dumps(asdict(impersonal), default=str).decode()


def from_snapshot(text: str, note: str) -> Order:
    """The order of a snapshot, with the note as it is now."""
    tree: dict[str, Any] = orjson.loads(text)
    invoice = tree.pop("invoice")
    return Order(
        **tree
        | {
            "state": State(tree["state"]),
            "lines": tuple(line_from(each) for each in tree["lines"]),
            "fee_lines": tuple(line_from(each) for each in tree["fee_lines"]),
            "delivery_date": date.fromisoformat(tree["delivery_date"]),
            "hold_reasons": tuple(tree["hold_reasons"]),
            "create_time": datetime.fromisoformat(tree["create_time"]),
            "update_time": datetime.fromisoformat(tree["update_time"]),
            "note": note,
            "invoice": _invoice(invoice) if invoice else None,
        }
    )


def split(lines: tuple[Line, ...]) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    """(products, fees) of stored lines."""
    return tuple(line for line in lines if line.sku != FEE), tuple(line for line in lines if line.sku == FEE)


def line_from(tree: Mapping[str, Any]) -> Line:
    """A line from JSON, numbers as text."""
    numbers = ("quantity", "unit_price", "tax_rate", "line_total", "line_tax")
    return Line(
        **{
            **tree,
            **{name: Decimal(tree[name]) for name in numbers},
            "provenance": provenance_from(tree["provenance"]),
        }
    )


def provenance_from(items: list[dict[str, Any]]) -> tuple[Provenance, ...]:
    """Where a line was said, from JSON."""
    return tuple(Provenance(**item) for item in items)


def words_of(provenance: Sequence[Provenance]) -> list[str]:
    """The words behind a line: what is stored sealed."""
    return [each.said for each in provenance]


def with_words(provenance: Sequence[Provenance], words: Sequence[str]) -> tuple[Provenance, ...]:
    """The provenance with the words that were stored beside it; `words` is empty when they are erased."""
    if not words:
        return tuple(provenance)
    return tuple(replace(each, said=said) for each, said in zip(provenance, words, strict=True))


def impersonal(provenance: Sequence[Provenance]) -> list[dict[str, Any]]:
    """The provenance as JSON is made of it, without the words."""
    return [asdict(replace(each, said="")) for each in provenance]


def _without_words(line: Line) -> Line:
    return replace(line, provenance=tuple(replace(each, said="") for each in line.provenance))


def _invoice(tree: dict[str, Any]) -> InvoiceView:
    booked, due = tree["booked_total"], tree["next_attempt_time"]
    return InvoiceView(
        state=InvoiceState(tree["state"]),
        number=tree["number"],
        attempts=tree["attempts"],
        next_attempt_time=datetime.fromisoformat(due) if due else None,
        last_error=tree["last_error"],
        booked_total=Money(booked["currency"], Decimal(booked["amount"])) if booked else None,
    )
