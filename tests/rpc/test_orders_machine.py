"""Orders over the wire against a model of them: legal and illegal moves, stale etags, replays and strangers, in any
order; what the server lists, keeps in stock and tells its watchers agrees with the model all along."""

from __future__ import annotations

import asyncio
import copy
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import grpc
import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from server.caller import Role
from server.db.pool import Database, PoolSettings
from server.errors import AppError, Reason
from server.order.states import Move, Party, State, after
from tests.support.orders import Shop, amount, fill, line, new_key, shop_server
from tests.support.reading import reason
from tests.support.stores import _TEMPLATE, _own_database
from tria.order.v1 import order_pb2
from tria.order.v1 import order_service_pb2 as rpc

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]
PATIENCE = 20.0
STOCK = 10  # of "FEW"
ROLES = {Party.CUSTOMER: Role.CUSTOMER, Party.STAFF: Role.STAFF}
VERBS = {
    "Accept": Move.ACCEPT,
    "Reject": Move.REJECT,
    "Fulfil": Move.FULFIL,
    "Complete": Move.COMPLETE,
    "Cancel": Move.CANCEL,
}
STAFF_ONLY = {"Accept", "Reject", "Fulfil", "Complete"}
STRANGERS = [{"outlet": "wok"}, {"tenant": "other"}, {"tenant": "other", "role": Role.STAFF}]
parties, etags = st.sampled_from(Party), st.sampled_from(["", "current", "stale"])


@dataclass(frozen=True, slots=True)
class Known:
    """What the model knows of an order."""

    state: State
    units: int
    etag: str
    revision: int


@dataclass(frozen=True, slots=True)
class Done:
    """A write that was done, to be sent again."""

    verb: str
    request: Any
    who: Metadata
    answer: order_pb2.Order


class Orders(RuleBasedStateMachine):
    """The model: each order's state, etag and the units of FEW in it."""

    server: ClassVar[str]
    redis: ClassVar[str]
    orders: Bundle[str] = Bundle("orders")
    writes: Bundle[Done] = Bundle("writes")

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.model: dict[str, Known] = {}
        self.told: list[tuple[str, State, int]] = []  # what watchers are to be told, in order
        self.run(self.open())

    async def open(self) -> None:
        dsn = await self.stack.enter_async_context(_own_database(self.server, _TEMPLATE))
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        async with Database(dsn, PoolSettings(min_size=1, max_size=2)) as database:
            await fill(database)
        self.shop: Shop = await self.stack.enter_async_context(shop_server(folder, dsn, self.redis))
        await self.shop.run("update tenant set settings = jsonb_set(settings, '{ordering,duplicate_minutes}', '0')")
        watch: Any = self.shop.stub.WatchOrders(rpc.WatchOrdersRequest(), metadata=self.shop.who(Role.STAFF))
        self.cursor = (await asyncio.wait_for(watch.read(), PATIENCE)).cursor
        watch.cancel()

    def teardown(self) -> None:
        try:
            if hasattr(self, "cursor"):
                self.run(self.watched())
        finally:
            self.run(self.stack.aclose())
            self.runner.close()

    async def watched(self) -> None:
        """A watcher who comes back is told everything that happened, once and in order, on the table's ways."""
        cursor = rpc.WatchOrdersRequest(cursor=self.cursor)
        watch: Any = self.shop.stub.WatchOrders(cursor, metadata=self.shop.who(Role.STAFF))
        told: list[tuple[str, State, int]] = []
        while len(told) < len(self.told):
            event = await asyncio.wait_for(watch.read(), PATIENCE)
            if event.HasField("order"):
                told.append((event.order.name, _state(event.order), event.order.revision))
        watch.cancel()
        assert told == self.told

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @rule(target=orders, units=st.integers(1, 12), party=parties)
    def create(self, units: int, party: Party) -> str:
        order = order_pb2.Order(outlet="outlets/pizza", lines=_lines(units))
        request = rpc.CreateOrderRequest(order=order, request_id=new_key())
        done, refusal = self.write("Create", request, party)
        assert done is not None, refusal
        assert (_state(done.answer), done.answer.revision) == (self.drafted(units, self.left()), 1)
        self.note(done.answer, units)
        return str(done.answer.name)

    @rule(target=writes, name=orders, party=parties, etag=etags)
    def confirm(self, name: str, party: Party, etag: str) -> Any:
        known = self.model[name]
        request = rpc.ConfirmOrderRequest(name=name, etag=self.etag(known, etag), request_id=new_key())
        expected = _refusal(known.state, Move.CONFIRM, party) or _stale(etag)
        if expected is None and known.units > self.left():
            expected = Reason.ORDER_OUT_OF_STOCK
        return self.tried("Confirm", request, party, expected, State.CONFIRMED)

    @rule(target=writes, name=orders, party=parties, verb=st.sampled_from(sorted(VERBS)), etag=etags)
    def move(self, name: str, party: Party, verb: str, etag: str) -> Any:
        known = self.model[name]
        fields = {"reason": "no reason"} if verb in {"Reject", "Cancel"} else {}
        request = getattr(rpc, f"{verb}OrderRequest")(
            name=name, etag=self.etag(known, etag), request_id=new_key(), **fields
        )
        denied = Reason.PERMISSION_MISSING if verb in STAFF_ONLY and party is Party.CUSTOMER else None
        expected = denied or _stale(etag) or _refusal(known.state, VERBS[verb], party)
        state = known.state if expected else after(known.state, VERBS[verb], party)
        return self.tried(verb, request, party, expected, state)

    @rule(target=writes, name=orders, party=parties, units=st.integers(1, 12), etag=etags)
    def change(self, name: str, party: Party, units: int, etag: str) -> Any:
        known = self.model[name]
        order = order_pb2.Order(name=name, etag=self.etag(known, etag), lines=_lines(units))
        request = rpc.UpdateOrderRequest(order=order, request_id=new_key())
        request.update_mask.paths.append("lines")
        available = self.left() + (0 if known.state.open else known.units)
        expected = _stale(etag) or _refusal(known.state, Move.CHANGE, party)
        if expected is None and not known.state.open and units > available:
            expected = Reason.ORDER_OUT_OF_STOCK
        state = self.drafted(units, available) if known.state.open else known.state
        return self.tried("Update", request, party, expected, state, units)

    @rule(done=writes)
    def replay(self, done: Done) -> None:
        """The same request again, whatever has happened since, is the first answer and no second deed."""

        async def again() -> tuple[order_pb2.Order, bool]:
            call = getattr(self.shop.stub, f"{done.verb}Order")(done.request, metadata=done.who)
            answer = await call
            return answer, ("x-idempotent-replay", "true") in tuple(await call.trailing_metadata())

        assert self.run(again()) == (done.answer, True)

    @rule(done=writes)
    def reuse(self, done: Done) -> None:
        """Its id with another body is refused."""
        request: Any = copy.deepcopy(done.request)
        if done.verb == "Update":
            request.order.note = f"{request.order.note} more"
        else:
            request.etag = f'{request.etag or "W/"}"7"'[:60]
        assert self.refusal(done.verb, request, done.who) is Reason.IDEMPOTENCY_KEY_REUSED

    @rule(
        name=orders, stranger=st.sampled_from(STRANGERS), verb=st.sampled_from(["Get", "Confirm", "Cancel", "Update"])
    )
    def strange(self, name: str, stranger: dict[str, Any], verb: str) -> None:
        """Another outlet's or tenant's caller learns nothing, not even that the order is there."""
        match verb:
            case "Get":
                request: Any = rpc.GetOrderRequest(name=name)
            case "Update":
                request = rpc.UpdateOrderRequest(order=order_pb2.Order(name=name, note="x"), request_id=new_key())
            case _:
                request = getattr(rpc, f"{verb}OrderRequest")(name=name, request_id=new_key())
        assert self.refusal(verb, request, self.shop.who(**stranger)) is Reason.RESOURCE_NOT_FOUND

    @invariant()
    def everything_agrees(self) -> None:
        if hasattr(self, "cursor"):
            self.run(self.check())

    async def check(self) -> None:
        request = rpc.ListOrdersRequest(page_size=500)
        listed = (await self.shop.stub.ListOrders(request, metadata=self.shop.who(Role.STAFF))).orders
        assert {order.name: (_state(order), order.etag, order.revision) for order in listed} == {
            name: (known.state, known.etag, known.revision) for name, known in self.model.items()
        }
        for order in listed:
            parts = sum((amount(each.line_total) + amount(each.line_tax) for each in order.lines), Decimal(0))
            fees_and_their_tax = amount(order.total) - parts
            assert amount(order.total) == amount(order.subtotal) + amount(order.fees) + amount(order.tax)
            assert fees_and_their_tax == (Decimal("13.08") if amount(order.fees) else 0)
            assert {each.line_total.currency_code for each in order.lines} == {order.total.currency_code} == {"SGD"}
        assert await self.shop.stock("FEW") == self.left()

    def tried(
        self, verb: str, request: Any, party: Party, expected: Reason | None, state: State, units: int | None = None
    ) -> Any:
        name = request.order.name if verb == "Update" else request.name
        done, refusal = self.write(verb, request, party)
        assert refusal is expected
        if done is None:
            return multiple()
        assert _state(done.answer) is state
        self.note(done.answer, self.model[name].units if units is None else units)
        return done

    def write(self, verb: str, request: Any, party: Party) -> tuple[Done | None, Reason | None]:
        who = self.shop.who(ROLES[party])
        try:
            answer = self.run(self.call(verb, request, who))
        except grpc.aio.AioRpcError as error:
            return None, Reason(reason(error))
        return Done(verb, request, who, answer), None

    async def call(self, verb: str, request: Any, who: Metadata) -> order_pb2.Order:
        answer: order_pb2.Order = await getattr(self.shop.stub, f"{verb}Order")(request, metadata=who)
        return answer

    def refusal(self, verb: str, request: Any, who: Metadata) -> Reason | None:
        try:
            self.run(self.call(verb, request, who))
        except grpc.aio.AioRpcError as error:
            return Reason(reason(error))
        return None

    def note(self, order: order_pb2.Order, units: int) -> None:
        known = self.model.get(order.name)
        assert known is None or order.etag != known.etag
        self.model[order.name] = Known(_state(order), units, order.etag, order.revision)
        self.told.append((order.name, _state(order), order.revision))

    def etag(self, known: Known, etag: str) -> str:
        return {"": "", "current": known.etag, "stale": 'W/"999"'}[etag]

    def drafted(self, units: int, available: int) -> State:
        return State.NEEDS_INFO if units > available else State.DRAFT

    def left(self) -> int:
        taken = {State.CONFIRMED, State.ACCEPTED, State.FULFILLING, State.COMPLETED}
        return STOCK - sum(known.units for known in self.model.values() if known.state in taken)


def _lines(units: int) -> list[order_pb2.OrderLine]:
    return [line("FEW", str(units)), line("NP", "10")]


def _state(order: order_pb2.Order) -> State:
    return State(order_pb2.Order.State.Name(order.state))


def _stale(etag: str) -> Reason | None:
    return Reason.ETAG_MISMATCH if etag == "stale" else None


def _refusal(state: State, move: Move, party: Party) -> Reason | None:
    try:
        after(state, move, party)
    except AppError as refusal:
        return refusal.reason
    return None


def test_orders_over_the_wire_and_their_model_agree(postgres: str, redis_url: str) -> None:
    class OnThisServer(Orders):
        server = postgres
        redis = redis_url

    run_state_machine_as_test(
        OnThisServer,
        settings=settings(
            max_examples=8, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
