"""Making a proposal of what somebody wants: priced now, fitted to what is possible, with what must be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_DOWN, Decimal

from server.db.pool import Connection
from server.errors import Reason, not_found
from server.order import order_store, proposal_store
from server.order.access import new_id
from server.order.order import Order
from server.order.ordering import Ordering, find_twin, price, wanted_of
from server.order.pricing import UNPRICEABLE, Priced, Violation, Wanted, refuse
from server.order.proposal import Asked, Kind, Proposal, ProposalState, arguments_sha256
from server.order.sentences import Saying, day_text, say
from server.order.terms import Terms, load_terms

_MOST_QUESTIONS = 20


@dataclass(frozen=True, slots=True)
class Presented:
    """What would be done, priced now; `order` is the one that it acts on."""

    asked: Asked
    terms: Terms
    priced: Priced
    order: Order | None

    @property
    def resource(self) -> str:
        return self.order.name if self.order else ""

    @property
    def etag(self) -> str:
        return self.order.etag if self.order else ""

    @property
    def sha256(self) -> str:
        return arguments_sha256(self.asked, self.priced, self.resource, self.etag)


async def propose(connection: Connection, ordering: Ordering, tenant: str, asked: Asked) -> Proposal:
    """Stores a proposal; what the conversation proposed before is superseded. Nothing else changes.

    Lines of which there is too little, and days that are not possible, are replaced by what is possible, and the
    person is told so in `questions`. Raises FAILED_PRECONDITION when no line can be priced, NOT_FOUND for an unknown
    outlet or order.
    """
    shown = await present(connection, ordering, tenant, asked)
    fitted, told = _fitted(shown.asked, shown.priced.violations)
    if fitted != shown.asked:
        shown = await present(connection, ordering, tenant, fitted)
    refuse(shown.priced.violations, UNPRICEABLE)
    language = shown.terms.language
    questions = [*asked.questions, *told]
    questions += [each.message for each in shown.priced.violations if each.message not in questions]
    twin = None
    if asked.kind is Kind.PLACE_ORDER:
        twin = await find_twin(connection, ordering.vault, tenant, shown.terms, shown.priced, ordering.now())
    if twin is not None:
        questions.append(say(Saying.DUPLICATE, language, number=twin.number))
    proposal = Proposal(
        id=new_id(),
        asked=shown.asked,
        state=ProposalState.OPEN,
        title=_title(shown),
        currency=shown.priced.currency,
        lines=(*shown.priced.lines, *shown.priced.fee_lines),
        total=shown.priced.total,
        arguments_sha256=shown.sha256,
        questions=tuple(questions[-_MOST_QUESTIONS:]),
        resource=shown.resource,
        resource_etag=shown.etag,
        duplicate_of=twin.id if twin else "",
        successor="",
        expires_at=ordering.now() + shown.terms.proposal_life,
    )
    await proposal_store.insert(connection, ordering.vault, tenant, proposal)
    if asked.conversation:
        await proposal_store.supersede_open(connection, tenant, proposal)
    return proposal


async def present(
    connection: Connection, ordering: Ordering, tenant: str, asked: Asked, *, lock: bool = False
) -> Presented:
    """Prices what is asked for as it stands now; with `lock`, the order that it acts on is held."""
    order = None
    held: dict[str, Decimal] = {}
    if asked.kind is not Kind.PLACE_ORDER:
        order = await order_store.get(connection, ordering.vault, tenant, asked.order, asked.outlet, lock=lock)
        if order is None:
            raise not_found(f"orders/{asked.order}")
        held = await order_store.held_stock(connection, tenant, order.id)
    terms = await load_terms(connection, tenant, asked.outlet, ordering.money)
    terms = replace(terms, language=asked.language or terms.language)
    if order is not None and asked.kind is Kind.CANCEL_ORDER:
        return Presented(replace(asked, language=terms.language), terms, order.priced, order)
    wanted = asked.wanted or (wanted_of(order) if order else ())
    day = asked.day or (order.delivery_date if order else None)
    priced = await price(connection, tenant, terms, wanted, day, ordering.now(), held)
    settled = replace(asked, wanted=tuple(wanted), day=priced.delivery_date, language=terms.language, questions=())
    return Presented(settled, terms, priced, order)


def _fitted(asked: Asked, violations: Sequence[Violation]) -> tuple[Asked, list[str]]:
    """What is possible instead, and the sentences that say why."""
    told = []
    wanted, day = list(asked.wanted), asked.day
    for violation in violations:
        match violation.reason:
            case Reason.ORDER_AFTER_CUTOFF:
                day = date.fromisoformat(violation.metadata["earliest"])
            case Reason.ORDER_OUT_OF_STOCK:
                available = Decimal(violation.metadata["available"]).to_integral_value(ROUND_DOWN)
                wanted = _limited(wanted, violation.sku, available)
            case Reason.PRODUCT_UNKNOWN | Reason.PRICE_MISSING:
                wanted = _limited(wanted, violation.sku, Decimal(0))
            case _:
                continue
        told.append(violation.message)
    if asked.kind is Kind.CANCEL_ORDER or not wanted:
        # Nothing would be left: then the refusal says it better than an empty proposal.
        return asked, told
    return replace(asked, wanted=tuple(wanted), day=day), told


def _limited(wanted: Sequence[Wanted], sku: str, most: Decimal) -> list[Wanted]:
    """The lines with at most `most` units of the product in all."""
    limited = []
    for line in wanted:
        if line.sku != sku:
            limited.append(line)
        elif quantity := min(line.quantity, most):
            limited.append(replace(line, quantity=quantity))
            most -= quantity
    return limited


def _title(shown: Presented) -> str:
    language = shown.terms.language
    day = day_text(shown.priced.delivery_date, language)
    number = shown.order.number if shown.order else ""
    saying = {
        Kind.PLACE_ORDER: Saying.ORDER_TITLE,
        Kind.CHANGE_ORDER: Saying.CHANGE_TITLE,
        Kind.CANCEL_ORDER: Saying.CANCEL_TITLE,
    }[shown.asked.kind]
    return say(saying, language, date=day, number=number)
