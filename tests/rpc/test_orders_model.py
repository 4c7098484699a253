"""Orders against a model of them: whatever is done in whatever order, states, stock, invoices and habits agree."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from server.audit.changes import Author, operator
from server.caller import AuthMethod, Caller, Role
from server.db.pool import Database, PoolSettings
from server.errors import AppError, Reason
from server.idempotency import Idempotency
from server.order.catalogue import Catalogue
from server.order.changing import Change
from server.order.order import Order
from server.order.placing import Draft
from server.order.pricing import Wanted
from server.order.states import Move, Party, State, after
from server.order.terms import MoneyRules
from server.order.wiring import OrderDesk, order_desk
from server.paging import PageTokens
from server.settings import Secret, TaxRate
from server.stream_life import StreamLimits
from tests.support.ledger import Ledger
from tests.support.orders import OUTLET, TENANT, fill
from tests.support.stores import _TEMPLATE, _own_database
from tests.support.vaults import a_vault

T = TypeVar("T")
STOCK = 10  # of "FEW"
INVOICED = {State.ACCEPTED, State.FULFILLING, State.COMPLETED}
MOVES = [Move.ACCEPT, Move.REJECT, Move.FULFIL, Move.COMPLETE, Move.CANCEL]


class Orders(RuleBasedStateMachine):
    """The model: each order's state and the units of FEW that it asks for."""

    server: ClassVar[str]
    orders: Bundle[str] = Bundle("orders")

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.model: dict[str, tuple[State, int]] = {}
        self.run(self.open())

    async def open(self) -> None:
        dsn = await self.stack.enter_async_context(_own_database(self.server, _TEMPLATE))
        self.database = await self.stack.enter_async_context(Database(dsn, PoolSettings(min_size=1, max_size=2)))
        await fill(self.database)
        async with self.database.connection() as connection:
            await connection.execute("""update tenant set settings = jsonb_set(settings, '{ordering}', settings
                -> 'ordering' || '{"duplicate_minutes": 0, "hold": {"usual_percent": "150"}}')""")
        tokens, money = PageTokens(Secret("s" * 40)), MoneyRules([TaxRate(date(2024, 1, 1), Decimal("0.09"))], "SGD")
        limits = StreamLimits(15, 600)
        self.desk: OrderDesk = order_desk(
            self.database,
            a_vault(),
            Catalogue(self.database),
            dsn,
            Ledger(),
            money,
            tokens,
            limits,
            lambda: datetime.now(UTC),
        )

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @rule(target=orders, units=st.integers(1, 12))
    def create(self, units: int) -> str:
        names: list[str] = []
        draft = Draft(OUTLET, _lines(units))
        self.run(self.desk.placing.create(_author(Party.STAFF), draft, _key("create", names)))
        self.model[names[0]] = (State.NEEDS_INFO if units > self.left() else State.DRAFT, units)
        return names[0]

    @rule(name=orders, party=st.sampled_from(Party), stale=st.booleans())
    def confirm(self, name: str, party: Party, *, stale: bool) -> None:
        state, units = self.model[name]
        etag = 'W/"999"' if stale else ""
        expected = _refusal(state, Move.CONFIRM, party) or (Reason.ETAG_MISMATCH if stale else None)
        if expected is None and units > self.left():
            expected = Reason.ORDER_OUT_OF_STOCK
        found = self.tried(self.desk.deciding.confirm(_author(party), name, etag, _key("confirm")))
        assert found is expected
        if expected is None:
            self.model[name] = (State.CONFIRMED, units)

    @rule(name=orders, party=st.sampled_from(Party), move=st.sampled_from(MOVES))
    def move(self, name: str, party: Party, move: Move) -> None:
        state, units = self.model[name]
        expected = _refusal(state, move, party)
        found = self.tried(self.desk.deciding.move(_author(party), name, "", move, "", _key(move)))
        assert found is expected
        if expected is None:
            self.model[name] = (after(state, move, party), units)

    @rule(name=orders, party=st.sampled_from(Party), units=st.integers(1, 12))
    def change(self, name: str, party: Party, units: int) -> None:
        state, held = self.model[name]
        expected = _refusal(state, Move.CHANGE, party)
        available = self.left() + (0 if state.open else held)
        if expected is None and not state.open and units > available:
            expected = Reason.ORDER_OUT_OF_STOCK
        change = Change(wanted=_lines(units))
        found = self.tried(self.desk.changing.update(_author(party), name, "", change, _key("update")))
        assert found is expected
        if expected is None:
            draft = State.NEEDS_INFO if units > available else State.DRAFT
            self.model[name] = (draft if state.open else state, units)

    @invariant()
    def everything_agrees(self) -> None:
        if hasattr(self, "model"):
            self.run(self.check())

    async def check(self) -> None:
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "select id, state, cardinality(hold_reasons) > 0 as held, total, subtotal + fees + tax as added, "
                "(select sum(line_total + line_tax) from order_line as line where line.tenant = o.tenant "
                " and line.order_id = o.id and line.revision = o.revision) as lines, "
                "(select array_agg(l.total) from ledger as l where l.order_id = o.id and l.state = 'QUEUED') as billed "
                "from customer_order as o"
            )
            stock = await connection.fetchval("select stock from product where sku = 'FEW'")
            habit = await connection.fetchval("select orders from outlet_habit") or 0
            seqs = await connection.fetchval("select coalesce(array_agg(seq order by seq), '{}') from order_event")
        assert {f"orders/{row['id']}": row["state"] for row in rows} == {
            name: state for name, (state, _) in self.model.items()
        }
        for row in rows:
            assert row["total"] == row["added"] == row["lines"]
            booked = row["state"] in INVOICED or (row["state"] == State.CONFIRMED and not row["held"])
            assert (row["billed"] or []) == ([row["total"]] if booked else [])
        assert stock == self.left()
        assert habit == len(self.standing())
        assert seqs == list(range(1, len(seqs) + 1))

    def standing(self) -> list[int]:
        """The units of the orders that stand."""
        return [units for state, units in self.model.values() if state is State.CONFIRMED or state in INVOICED]

    def left(self) -> int:
        return STOCK - sum(self.standing())

    def tried(self, work: Coroutine[Any, Any, Any]) -> Reason | None:
        """The reason of the refusal, or None."""
        try:
            self.run(work)
        except AppError as refusal:
            return refusal.reason
        return None


def _lines(units: int) -> list[Wanted]:
    return [Wanted("FEW", Decimal(units)), Wanted("NP", Decimal(10))]


def _refusal(state: State, move: Move, party: Party) -> Reason | None:
    try:
        after(state, move, party)
    except AppError as refusal:
        return refusal.reason
    return None


def _author(party: Party) -> Author:
    role = Role.CUSTOMER if party is Party.CUSTOMER else Role.STAFF
    outlet = OUTLET if party is Party.CUSTOMER else ""
    return replace(operator(TENANT), caller=Caller(TENANT, "ann", frozenset({role}), AuthMethod.JWT, outlet))


def _key(method: str, names: list[str] | None = None) -> Idempotency[Order]:
    def encode(order: Order) -> bytes:
        if names is not None:
            names.append(order.name)
        return order.name.encode()

    return Idempotency(method, str(uuid.uuid4()), b"", encode)


def test_orders_and_their_model_agree(postgres: str) -> None:
    class OnThisServer(Orders):
        server = postgres

    run_state_machine_as_test(
        OnThisServer,
        settings=settings(
            max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
