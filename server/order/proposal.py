"""A proposal: what would be done, as a person is shown it, and the hash by which it is confirmed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

import orjson

from server.errors import AppError, Code, Reason
from server.order.pricing import Line, Priced, Wanted, plain
from server.order.sentences import Saying, say


class Kind(StrEnum):
    """What would be done."""

    PLACE_ORDER = "PLACE_ORDER"
    CHANGE_ORDER = "CHANGE_ORDER"
    CANCEL_ORDER = "CANCEL_ORDER"


class ProposalState(StrEnum):
    """Where a proposal stands."""

    OPEN = "OPEN"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    SUPERSEDED = "SUPERSEDED"


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants done, from which a proposal is made.

    `order` is the bare id of the order to change or cancel. `day` None means the first possible one, or the order's
    own. `language` is "en", "zh" or "ms"; '' means the outlet's. `questions` are what is still unclear.
    `person` is whom it is proposed to.
    """

    kind: Kind
    outlet: str
    wanted: Sequence[Wanted] = ()
    day: date | None = None
    note: str = ""
    conversation: str = ""
    language: str = ""
    order: str = ""
    questions: Sequence[str] = ()
    person: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A stored proposal. `lines` are products and then fees, as they would be booked."""

    id: str
    asked: Asked
    state: ProposalState
    title: str
    currency: str
    lines: tuple[Line, ...]
    total: Decimal
    arguments_sha256: str
    questions: tuple[str, ...]
    resource: str
    resource_etag: str
    duplicate_of: str
    successor: str
    expires_at: datetime

    @property
    def name(self) -> str:
        return f"proposals/{self.id}"

    @property
    def person(self) -> str:
        return self.asked.person


class ProposalMoved(AppError):
    """FAILED_PRECONDITION: not what was shown; `proposal` is what can be confirmed instead. Handlers put it into the
    details."""

    def __init__(self, reason: Reason, proposal: Proposal) -> None:
        language = proposal.asked.language or "en"
        saying = Saying.PROPOSAL_EXPIRED if reason is Reason.PROPOSAL_EXPIRED else Saying.PROPOSAL_CHANGED
        message = say(saying, language)
        if reason is Reason.ORDER_DUPLICATE_SUSPECTED and proposal.questions:
            message = proposal.questions[-1]  # it names the order
        super().__init__(Code.FAILED_PRECONDITION, reason, message, metadata={"proposal": proposal.name})
        self.proposal = proposal


def arguments_sha256(asked: Asked, priced: Priced, resource: str, resource_etag: str) -> str:
    """SHA-256, hex, of everything that the confirmation covers, in canonical form, version 1:

    one JSON object in UTF-8, keys sorted, without whitespace, every number a plain decimal string without trailing
    zeros, dates as YYYY-MM-DD:

        {"currency","delivery_date","fees":[{"description","line_tax","line_total"}],"kind",
         "lines":[{"line_tax","line_total","quantity","sku","unit_price"}],"note","open":[["reason","sku"]],"outlet",
         "resource","resource_etag","total","v":"1"}

    `open` is what stands in the way of confirming, so that a guard that closes or opens is a change too.
    """
    tree = {
        "v": "1",
        "kind": asked.kind.value,
        "outlet": asked.outlet,
        "delivery_date": priced.delivery_date.isoformat(),
        "note": asked.note,
        "currency": priced.currency,
        "lines": [
            {
                "sku": line.sku,
                "quantity": plain(line.quantity),
                "unit_price": plain(line.unit_price),
                "line_total": plain(line.line_total),
                "line_tax": plain(line.line_tax),
            }
            for line in priced.lines
        ],
        "fees": [
            {"description": fee.description, "line_total": plain(fee.line_total), "line_tax": plain(fee.line_tax)}
            for fee in priced.fee_lines
        ],
        "total": plain(priced.total),
        "open": [[violation.reason.value, violation.sku] for violation in priced.violations],
        "resource": resource,
        "resource_etag": resource_etag,
    }
    return hashlib.sha256(orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)).hexdigest()
