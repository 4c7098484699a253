"""The steps that several use cases share: loading, pricing, storing, confirming and publishing an order.

Every function runs inside the caller's open transaction. Rows are locked in one order everywhere: proposal, order,
outlet, products by SKU, what accounting needs, the conversation, and the feed last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from server.audit.actions import Action
from server.audit.changes import Author
from server.audit.leaf import Plain
from server.audit.sealing import Vault
from server.db.pool import Connection, Database
from server.errors import AppError, Code, Reason, not_found
from server.order import feed, habits, order_store, price_list
from server.order.access import new_id, outlet_scope, party
from server.order.holds import hold_reasons
from server.order.invoicing import InvoiceLine, InvoiceRequest, InvoiceState, Invoicing
from server.order.money import Money
from server.order.number import new_number
from server.order.order import Order
from server.order.order_store import NewOrder
from server.order.pricing import LINE_QUESTIONS, UNPRICEABLE, Priced, Violation, Wanted, price_order, refuse
from server.order.sentences import Saying, say, say_not_now
from server.order.states import Move, Party, State, after
from server.order.terms import MoneyRules, Terms, load_terms
from server.order.threads import NoThreads, Threads

_SIMILAR = Decimal("0.1")  # quantities of a similar order differ by no more than this part


@dataclass(frozen=True, slots=True)
class Ordering:
    """What every use case stands on; `now` is the clock, in UTC, `threads` are the conversations of orders."""

    database: Database
    vault: Vault
    invoicing: Invoicing
    money: MoneyRules
    now: Callable[[], datetime]
    threads: Threads = field(default_factory=NoThreads)


class Moved(Exception):
    """What was shown is not what would be booked now. Ends the transaction; the use case says what happens next."""

    def __init__(self, priced: Priced) -> None:
        super().__init__("prices, tax or fees have changed")
        self.priced = priced


class Twin(Exception):
    """A very similar order was confirmed minutes ago, and the customer was not asked about it yet."""

    def __init__(self, order: Order) -> None:
        super().__init__(order.name)
        self.order = order


async def load(connection: Connection, vault: Vault, author: Author, name: str) -> Order:
    """The order, locked until the transaction ends. Raises NOT_FOUND, also for another tenant's or outlet's."""
    caller = author.caller
    scope = outlet_scope(caller)
    found = await order_store.get(connection, vault, caller.tenant, name.removeprefix("orders/"), scope, lock=True)
    if found is None:
        raise not_found(name)
    return found


async def price(
    connection: Connection,
    tenant: str,
    terms: Terms,
    wanted: Sequence[Wanted],
    day: date | None,
    now: datetime,
    held: Mapping[str, Decimal] | None = None,
) -> Priced:
    """Prices the lines by the list that is valid now."""
    skus = sorted({line.sku for line in wanted})
    offers = await price_list.offers(connection, tenant, skus, terms.money.currency, now)
    return price_order(wanted, offers, terms, day, now, held=held)


async def next_state(connection: Connection, ordering: Ordering, author: Author, order: Order, move: Move) -> State:
    """The state that the move leads to. Raises FAILED_PRECONDITION (ORDER_TRANSITION_ILLEGAL) in the outlet's
    language."""
    try:
        return after(order.state, move, party(author.caller))
    except AppError as refusal:
        tenant = author.caller.tenant
        terms = await load_terms(connection, tenant, order.outlet, ordering.money, closed=True)
        sentence = say_not_now(order.state, move, terms.language)
        raise AppError(refusal.code, refusal.reason, sentence, metadata=refusal.metadata) from refusal


async def refuse_paid(connection: Connection, ordering: Ordering, tenant: str, order: Order, language: str) -> None:
    """Raises FAILED_PRECONDITION (ORDER_PAID) for an order whose invoice is paid: money goes back by staff's hand."""
    views = await ordering.invoicing.views(connection, tenant, [order.id])
    view = views.get(order.id)
    if view is not None and view.state is InvoiceState.PAID:
        sentence = say(Saying.PAID, language, number=order.number)
        raise AppError(Code.FAILED_PRECONDITION, Reason.ORDER_PAID, sentence, metadata={"order": order.name})


def wanted_of(order: Order) -> tuple[Wanted, ...]:
    """What the order asks for, without prices."""
    return tuple(Wanted(line.sku, line.quantity, line.provenance) for line in order.lines)


def draft_state(violations: Sequence[Violation]) -> State:
    """A draft, or one of which something must be asked first."""
    if any(violation.reason in LINE_QUESTIONS for violation in violations):
        return after(State.DRAFT, Move.ASK, Party.CUSTOMER)
    return State.DRAFT


async def store_draft(
    connection: Connection,
    vault: Vault,
    tenant: str,
    terms: Terms,
    priced: Priced,
    now: datetime,
    *,
    note: str = "",
    conversation: str = "",
    proposal: str = "",
    person: str = "",
) -> Order:
    """Stores the order under a new id and number. Raises FAILED_PRECONDITION when it has no total."""
    refuse(priced.violations, UNPRICEABLE)
    day = terms.calendar.today(now)
    id, state = new_id(), draft_state(priced.violations)
    new = NewOrder(id, new_number(day), terms.outlet, state, note, conversation, proposal, person)
    while not await order_store.insert(connection, vault, tenant, new, priced):
        new = replace(new, number=new_number(day))
    return await reload(connection, vault, tenant, id)


async def reload(connection: Connection, vault: Vault, tenant: str, id: str) -> Order:
    """The order as this transaction has left it."""
    found = await order_store.get(connection, vault, tenant, id, "")
    if found is None:
        raise RuntimeError("the order of this transaction is gone")
    return found


async def find_twin(
    connection: Connection, vault: Vault, tenant: str, terms: Terms, priced: Priced, now: datetime
) -> Order | None:
    """A standing order of the outlet, confirmed within its duplicate window, with the same products and about the same
    quantities. The caller holds the outlet's lock, so none can appear meanwhile."""
    since = now - terms.duplicate_window
    for order in await order_store.confirmed_between(connection, vault, tenant, terms.outlet, since, now + _SKEW, 20):
        if _similar(habits.units_by_sku(order.priced), habits.units_by_sku(priced)):
            return order
    return None


# `confirmed_at` is the database's clock and `now` ours.
_SKEW = timedelta(minutes=5)


def _similar(one: Mapping[str, Decimal], other: Mapping[str, Decimal]) -> bool:
    return one.keys() == other.keys() and all(
        abs(quantity - other[sku]) <= _SIMILAR * max(quantity, other[sku]) for sku, quantity in one.items()
    )


async def confirm(
    connection: Connection, ordering: Ordering, author: Author, order: Order, terms: Terms, priced: Priced
) -> Order:
    """Confirms a locked order that has passed its guards: stock is taken, and the invoice queued unless staff must
    look first. The caller holds the outlet's lock. Publish the order afterwards."""
    tenant, now = author.caller.tenant, ordering.now()
    state = after(order.state, Move.CONFIRM, party(author.caller))
    quantities = habits.units_by_sku(priced)
    habit = await habits.habit(connection, tenant, order.outlet)
    reasons = hold_reasons(priced.subtotal, quantities, habit, terms.holds)
    await take_stock(connection, tenant, order.id, quantities, terms.language)
    moved = replace(order, state=state, hold_reasons=tuple(reasons))
    await order_store.update(connection, ordering.vault, tenant, moved, confirmed=True)
    await habits.learn(connection, ordering.vault, tenant, order, priced, now)
    if not reasons:
        await ordering.invoicing.queue(connection, tenant, invoice_request(moved, terms, now))
    return await reload(connection, ordering.vault, tenant, order.id)


async def take_stock(
    connection: Connection, tenant: str, order: str, quantities: Mapping[str, Decimal], language: str
) -> None:
    """Takes the units from stock. Raises FAILED_PRECONDITION when another order was faster than our own guard."""
    if short := await order_store.take_stock(connection, tenant, order, quantities):
        sentence = say(Saying.SOLD_OUT, language, name=short[0])
        refuse([Violation(Reason.ORDER_OUT_OF_STOCK, sentence, short[0])])


def invoice_request(order: Order, terms: Terms, now: datetime) -> InvoiceRequest:
    """The order as it is to be invoiced today; fees are lines without a SKU, so the lines add up to the totals."""
    today = terms.calendar.today(now)
    priced = order.priced
    return InvoiceRequest(
        order=order.id,
        number=order.number,
        revision=order.revision,
        outlet=order.outlet,
        outlet_name=terms.outlet_name,
        issued_on=today,
        due_on=today + timedelta(days=terms.payment_days),
        lines=[
            InvoiceLine(
                sku=line.sku,
                description=line.description,
                quantity=line.quantity,
                unit_price=line.unit_price,
                tax_code=line.tax_code,
                tax_rate=line.tax_rate,
                line_total=line.line_total,
                line_tax=line.line_tax,
            )
            for line in (*order.lines, *order.fee_lines)
        ],
        subtotal=Money(order.currency, priced.subtotal + priced.fees),
        tax=Money(order.currency, priced.tax),
        total=Money(order.currency, priced.total),
    )


async def publish(
    connection: Connection,
    ordering: Ordering,
    author: Author,
    order: Order,
    action: Action,
    details: Mapping[str, Plain] | None = None,
) -> Order:
    """Records the change for the audit trail and tells watchers: the last step of every transaction that changes an
    order. Returns it with its invoice."""
    tenant = author.caller.tenant
    facts: dict[str, Plain] = {
        "outlet": order.outlet,
        "state": order.state.value,
        "revision": order.revision,
        "total": str(Money(order.currency, order.priced.total)),
        **(details or {}),
    }
    await author.record(connection, action, (order.name,), facts)
    await ordering.threads.order_changed(connection, author, order)
    [shown] = await with_invoices(connection, ordering, tenant, [order])
    await feed.append(connection, tenant, shown)
    return shown


async def with_invoices(
    connection: Connection, ordering: Ordering, tenant: str, orders: Sequence[Order]
) -> list[Order]:
    """The orders with what accounting says of their invoices."""
    views = await ordering.invoicing.views(connection, tenant, [order.id for order in orders]) if orders else {}
    return [replace(order, invoice=views.get(order.id)) for order in orders]


def duplicate(twin: Order, language: str) -> AppError:
    """FAILED_PRECONDITION that asks whether the order is meant; confirming once more says so."""
    return AppError(
        Code.FAILED_PRECONDITION,
        Reason.ORDER_DUPLICATE_SUSPECTED,
        say(Saying.DUPLICATE, language, number=twin.number),
        metadata={"order": twin.name},
    )
