"""Orders over the wire: priced, confirmed, decided, and refused with a reason and a sentence."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import grpc
import pytest

from server.caller import Role
from tests.support.calls import refusal
from tests.support.orders import Shop, amount, line, new_key
from tests.support.reading import reason
from tests.support.stores import eventually
from tria.order.v1 import order_pb2
from tria.order.v1 import order_service_pb2 as rpc

Order = order_pb2.Order
CODES = grpc.StatusCode


async def refused(call: object) -> grpc.aio.AioRpcError:
    """The error that the call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return caught.value


async def move(shop: Shop, verb: str, order: Order, role: Role = Role.STAFF, **fields: str) -> Order:
    """One of the moves, by somebody new."""
    request = getattr(rpc, f"{verb}OrderRequest")(name=order.name, request_id=new_key(), **fields)
    moved: Order = await getattr(shop.stub, f"{verb}Order")(request, metadata=shop.who(role))
    return moved


async def test_a_quote_is_what_would_be_stored(shop: Shop) -> None:
    request = rpc.QuoteOrderRequest(lines=[line("PB-12", "200"), line("NP", "5")])
    quote = await shop.stub.QuoteOrder(request, metadata=shop.who())
    assert not quote.violations
    assert (amount(quote.order.subtotal), amount(quote.order.fees)) == (Decimal("131.5"), Decimal(12))
    assert amount(quote.order.tax) == Decimal("12.92")  # 10.44 + 1.40 (1.395) + 1.08
    assert amount(quote.order.total) == Decimal("156.42")
    assert [each.tax_rate for each in quote.order.lines] == ["0.09", "0.09"]
    assert quote.order.outlet == "outlets/pizza"
    assert not quote.order.name
    stored = await shop.create(("PB-12", "200"), ("NP", "5"))
    assert stored.total == quote.order.total
    assert await shop.value("select count(*) from customer_order") == 1


async def test_a_quote_names_everything_in_the_way(shop: Shop) -> None:
    request = rpc.QuoteOrderRequest(lines=[line("FEW", "11"), line("PB-12", "5"), line("NOPE", "1")])
    quote = await shop.stub.QuoteOrder(request, metadata=shop.who(outlet="late-payer"))
    assert [(each.reason, each.sku) for each in quote.violations] == [
        ("PRODUCT_UNKNOWN", "NOPE"),
        ("ORDER_OUT_OF_STOCK", "FEW"),
        ("ORDER_BELOW_MINIMUM", "PB-12"),
        ("ORDER_CREDIT_HOLD", ""),
    ]
    assert quote.violations[1].message == "Only 10 sleeve of Rare tray are left; you asked for 11."


async def test_the_whole_way(shop: Shop) -> None:
    draft = await shop.create(("PB-12", "300"), note="Back door")
    assert (draft.state, draft.revision, draft.etag) == (Order.DRAFT, 1, 'W/"1"')
    assert draft.number.startswith("SO-")
    assert draft.invoice.state == order_pb2.Invoice.STATE_UNSPECIFIED
    confirmed = await shop.confirm(draft)
    assert confirmed.state == Order.CONFIRMED
    assert confirmed.total == draft.total
    assert confirmed.invoice.state == order_pb2.Invoice.QUEUED
    assert confirmed.invoice.booked_total == confirmed.total
    assert await shop.stock("PB-12") == 99_700
    accepted = await move(shop, "Accept", confirmed, etag=confirmed.etag)
    fulfilling = await move(shop, "Fulfil", accepted)
    completed = await move(shop, "Complete", fulfilling)
    assert [accepted.state, fulfilling.state, completed.state] == [Order.ACCEPTED, Order.FULFILLING, Order.COMPLETED]
    assert await shop.ledger(draft.name) == [(1, "QUEUED", amount(draft.total))]
    read = await shop.stub.GetOrder(rpc.GetOrderRequest(name=draft.name), metadata=shop.who())
    assert read == completed
    for action in ("CREATE", "CONFIRM", "ACCEPT", "FULFIL", "COMPLETE"):
        assert await shop.leaves(f"ORDER_{action}") == 1


async def test_called_off_orders_give_back_what_they_took(shop: Shop) -> None:
    first, second = await shop.placed(("PB-12", "300")), await shop.placed(("PB-10", "300"))
    cancelled = await move(shop, "Cancel", first, Role.CUSTOMER, reason="changed our mind")
    rejected = await move(shop, "Reject", second)
    assert (cancelled.state, rejected.state) == (Order.CANCELLED, Order.REJECTED)
    assert await shop.stock("PB-12") == await shop.stock("PB-10") == 100_000
    assert [state for _, state, _ in await shop.ledger(first.name)] == ["VOIDED"]
    assert [state for _, state, _ in await shop.ledger(second.name)] == ["VOIDED"]
    assert await shop.value("select orders from outlet_habit") == 0


async def test_an_illegal_move_lists_the_legal_ones(shop: Shop) -> None:
    draft = await shop.create()
    error = await refused(move(shop, "Fulfil", draft))
    assert error.code() is CODES.FAILED_PRECONDITION
    info = refusal(error).info
    assert (info.reason, info.metadata["state"]) == ("ORDER_TRANSITION_ILLEGAL", "DRAFT")
    assert info.metadata["allowed"] == "ask, cancel, change, confirm"
    done = await move(shop, "Cancel", draft)
    assert refusal(await refused(shop.confirm(done))).info.metadata["allowed"] == ""


async def test_customers_decide_nothing(shop: Shop) -> None:
    placed = await shop.placed()
    error = await refused(move(shop, "Accept", placed, Role.CUSTOMER))
    assert (error.code(), reason(error)) == (CODES.PERMISSION_DENIED, "PERMISSION_MISSING")
    accepted = await move(shop, "Accept", placed)
    fulfilling = await move(shop, "Fulfil", accepted)
    error = await refused(move(shop, "Cancel", fulfilling, Role.CUSTOMER))
    assert reason(error) == "ORDER_TRANSITION_ILLEGAL"
    assert (await move(shop, "Cancel", fulfilling)).state == Order.CANCELLED


@pytest.mark.parametrize("verb", ["Get", "Confirm", "Cancel", "Update"])
@pytest.mark.parametrize(("outlet", "tenant"), [("wok", "lumen"), ("pizza", "other")])
async def test_other_peoples_orders_do_not_exist(shop: Shop, verb: str, outlet: str, tenant: str) -> None:
    order = await shop.create()
    who = shop.who(outlet=outlet, tenant=tenant)
    match verb:
        case "Get":
            call: Any = shop.stub.GetOrder(rpc.GetOrderRequest(name=order.name), metadata=who)
        case "Update":
            request = rpc.UpdateOrderRequest(order=Order(name=order.name, note="x"), request_id=new_key())
            call = shop.stub.UpdateOrder(request, metadata=who)
        case _:
            request = getattr(rpc, f"{verb}OrderRequest")(name=order.name, request_id=new_key())
            call = getattr(shop.stub, f"{verb}Order")(request, metadata=who)
    error = await refused(call)
    assert (error.code(), reason(error)) == (CODES.NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_nobody_orders_for_another_outlet(shop: Shop) -> None:
    request = rpc.CreateOrderRequest(order=Order(outlet="outlets/wok", lines=[line("NP", "20")]), request_id=new_key())
    error = await refused(shop.stub.CreateOrder(request, metadata=shop.who()))
    assert reason(error) == "OUTLET_MISMATCH"
    made = await shop.stub.CreateOrder(request, metadata=shop.who(Role.STAFF))
    assert made.outlet == "outlets/wok"
    request.order.outlet = "outlets/nowhere"
    error = await refused(shop.stub.CreateOrder(request, metadata=shop.who(Role.STAFF)))
    assert (error.code(), reason(error)) == (CODES.NOT_FOUND, "OUTLET_UNKNOWN")


@pytest.mark.parametrize(
    ("lines", "code", "expected"),
    [
        ([], CODES.FAILED_PRECONDITION, "ORDER_EMPTY"),
        ([("NOPE", "1")], CODES.FAILED_PRECONDITION, "PRODUCT_UNKNOWN"),
        ([("NP", "1.5")], CODES.FAILED_PRECONDITION, "INVALID_FIELD"),
        ([("NP", "0")], CODES.INVALID_ARGUMENT, "INVALID_FIELD"),
        ([("NP", "1e3")], CODES.INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
)
async def test_what_has_no_total_is_not_stored(
    shop: Shop, lines: list[tuple[str, str]], code: grpc.StatusCode, expected: str
) -> None:
    request = rpc.CreateOrderRequest(order=Order(lines=[line(*each) for each in lines]), request_id=new_key())
    error = await refused(shop.stub.CreateOrder(request, metadata=shop.who()))
    assert (error.code(), reason(error)) == (code, expected)
    assert await shop.value("select count(*) from customer_order") == 0


@pytest.mark.parametrize(
    ("lines", "outlet", "state", "expected"),
    [
        (("FEW", "11"), "pizza", Order.NEEDS_INFO, "ORDER_OUT_OF_STOCK"),
        (("PB-12", "99"), "pizza", Order.DRAFT, "ORDER_BELOW_MINIMUM"),
        (("NP", "6"), "pizza", Order.DRAFT, "ORDER_BELOW_MINIMUM"),
        (("NP", "50"), "late-payer", Order.DRAFT, "ORDER_CREDIT_HOLD"),
    ],
)
async def test_guards_of_confirmation(
    shop: Shop, lines: tuple[str, str], outlet: str, state: order_pb2.Order.State.ValueType, expected: str
) -> None:
    draft = await shop.create(lines, outlet=outlet)
    assert draft.state == state
    error = await refused(shop.confirm(draft, outlet))
    assert (error.code(), reason(error)) == (CODES.FAILED_PRECONDITION, expected)
    assert refusal(error).details["BadRequest"].field_violations[0].reason == expected
    assert await shop.ledger(draft.name) == []


async def test_refusals_speak_the_outlets_language(shop: Shop) -> None:
    draft = await shop.create(("FEW", "11"), outlet="wok")
    assert (await refused(shop.confirm(draft, "wok"))).details() == "Rare tray 只剩 10 sleeve，您订了 11。"
    await move(shop, "Cancel", draft)
    assert (await refused(shop.confirm(draft, "wok"))).details() == "该订单已取消，现在无法确认。"
    draft = await shop.create(outlet="sentosa")
    await shop.run("update product_price set amount = 0.60 where sku = 'PB-12'")
    assert str((await refused(shop.confirm(draft, "sentosa"))).details()).startswith("Harga telah berubah")


async def test_a_day_that_is_gone(shop: Shop) -> None:
    draft = await shop.create()
    shop.clock.ahead = timedelta(days=1)
    error = await refused(shop.confirm(draft))
    assert reason(error) == "ORDER_AFTER_CUTOFF"
    assert refusal(error).info.metadata["earliest"] > f"{draft.delivery_date.year}-"


async def test_a_stale_etag_is_told_the_current_one(shop: Shop) -> None:
    draft = await shop.create()
    order = Order(name=draft.name, etag=draft.etag, note="Ring twice")
    first = await shop.stub.UpdateOrder(rpc.UpdateOrderRequest(order=order, request_id=new_key()), metadata=shop.who())
    assert (first.note, first.etag, first.lines) == ("Ring twice", 'W/"2"', draft.lines)
    error = await refused(shop.confirm(draft))
    assert (error.code(), reason(error)) == (CODES.ABORTED, "ETAG_MISMATCH")
    assert refusal(error).info.metadata["etag"] == first.etag
    assert (await shop.confirm(first)).state == Order.CONFIRMED


async def test_a_new_price_is_seen_before_it_is_confirmed(shop: Shop) -> None:
    draft = await shop.create()
    await shop.run("update product_price set amount = 0.60 where sku = 'PB-12'")
    error = await refused(shop.confirm(draft))
    assert (error.code(), reason(error)) == (CODES.ABORTED, "ETAG_MISMATCH")
    anew = await shop.stub.GetOrder(rpc.GetOrderRequest(name=draft.name), metadata=shop.who())
    assert anew.etag == refusal(error).info.metadata["etag"] != draft.etag
    assert amount(anew.lines[0].unit_price) == Decimal("0.6")
    assert (await shop.confirm(anew)).total == anew.total


async def test_a_change_after_confirmation_is_a_new_revision(shop: Shop) -> None:
    placed = await shop.placed(("PB-12", "200"), ("FEW", "8"))
    order = Order(name=placed.name, etag=placed.etag, lines=[line("PB-12", "300"), line("FEW", "9")])
    request = rpc.UpdateOrderRequest(order=order, request_id=new_key())
    request.update_mask.paths.append("lines")
    changed = await shop.stub.UpdateOrder(request, metadata=shop.who())
    assert (changed.state, changed.revision) == (Order.CONFIRMED, 2)
    assert (await shop.stock("PB-12"), await shop.stock("FEW")) == (99_700, 1)
    assert await shop.ledger(placed.name) == [
        (1, "VOIDED", amount(placed.total)),
        (2, "QUEUED", amount(changed.total)),
    ]
    assert await shop.value("select count(*) from order_line where revision = 1 and sku <> ''") == 2
    request.order.etag, request.request_id = changed.etag, new_key()
    request.order.lines[1].quantity = "11"
    assert reason(await refused(shop.stub.UpdateOrder(request, metadata=shop.who()))) == "ORDER_OUT_OF_STOCK"


@pytest.mark.parametrize("path", ["total", "state", "outlet"])
async def test_what_the_server_sets_cannot_be_changed(shop: Shop, path: str) -> None:
    draft = await shop.create()
    request = rpc.UpdateOrderRequest(order=Order(name=draft.name), request_id=new_key())
    request.update_mask.paths.append(path)
    assert (await refused(shop.stub.UpdateOrder(request, metadata=shop.who()))).code() is CODES.INVALID_ARGUMENT


async def test_held_orders_are_invoiced_when_staff_accept(shop: Shop) -> None:
    held = await shop.placed(("PB-12", "2000"))
    assert (held.state, list(held.hold_reasons)) == (Order.CONFIRMED, ["FIRST_ORDER_LARGE"])
    assert held.invoice.state == order_pb2.Invoice.STATE_UNSPECIFIED
    accepted = await move(shop, "Accept", held)
    assert (accepted.state, list(accepted.hold_reasons)) == (Order.ACCEPTED, [])
    assert accepted.invoice.booked_total == held.total
    usual = await shop.placed(("PB-12", "3900"))
    assert not usual.hold_reasons
    assert list((await shop.placed(("PB-12", "7000"))).hold_reasons) == ["ABOVE_USUAL"]


async def test_a_similar_order_minutes_later_is_asked_about(shop: Shop) -> None:
    first = await shop.placed(("PB-12", "200"), ("NP", "10"))
    again = await shop.create(("NP", "10"), ("PB-12", "210"))
    request = rpc.ConfirmOrderRequest(name=again.name, etag=again.etag, request_id=new_key())
    who = shop.who()
    for _ in range(2):  # the same request sent again is no answer to the question
        error = await refused(shop.stub.ConfirmOrder(request, metadata=who))
        assert (error.code(), reason(error)) == (CODES.FAILED_PRECONDITION, "ORDER_DUPLICATE_SUSPECTED")
        assert refusal(error).info.metadata["order"] == first.name
        assert first.number in str(error.details())
    assert (await shop.confirm(again)).state == Order.CONFIRMED
    assert (await shop.placed(("NP", "10"), ("PB-12", "500"))).state == Order.CONFIRMED


async def test_the_same_request_is_done_once(shop: Shop) -> None:
    draft = await shop.create()
    request = rpc.ConfirmOrderRequest(name=draft.name, request_id=new_key())
    who = shop.who()
    calls = [shop.stub.ConfirmOrder(request, metadata=who) for _ in range(20)]
    answers = await asyncio.gather(*calls)
    assert all(answer == answers[0] for answer in answers)
    replays = [("x-idempotent-replay", "true") in tuple(await call.trailing_metadata()) for call in calls]
    assert sorted(replays) == [False] + [True] * 19
    assert await shop.ledger(draft.name) == [(1, "QUEUED", amount(draft.total))]
    assert await shop.stock("PB-12") == 99_800
    request.etag = draft.etag
    error = await refused(shop.stub.ConfirmOrder(request, metadata=who))
    assert (error.code(), reason(error)) == (CODES.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED")


async def test_stock_is_never_sold_twice(shop: Shop) -> None:
    """Twelve orders of three for a stock of ten: three get theirs."""
    await shop.run("update tenant set settings = jsonb_set(settings, '{ordering,duplicate_minutes}', '0')")
    drafts = await asyncio.gather(*(shop.create(("FEW", "3"), ("NP", str(10 + n))) for n in range(12)))
    results = await asyncio.gather(*(shop.confirm(draft) for draft in drafts), return_exceptions=True)
    good = [result for result in results if isinstance(result, Order)]
    bad = {reason(result) for result in results if isinstance(result, grpc.aio.AioRpcError)}
    assert len(good) == 3
    assert bad == {"ORDER_OUT_OF_STOCK"}
    assert await shop.stock("FEW") == 1
    assert await shop.value("select count(*) from ledger") == 3


async def test_stock_goes_to_the_first_of_two_that_both_saw_it(shop: Shop) -> None:
    """Two outlets have passed the guard when the product's row becomes free."""

    async def both_wait() -> bool:
        waiting: int = await shop.value("select count(*) from pg_locks where not granted")
        return waiting == 2

    drafts = [await shop.create(("FEW", "6"), outlet=outlet) for outlet in ("pizza", "wok")]
    async with shop.database.transaction() as connection:
        await connection.execute("select from product where sku = 'FEW' for update")
        confirming = [
            asyncio.create_task(shop.confirm(draft, draft.outlet.removeprefix("outlets/"))) for draft in drafts
        ]
        await eventually(both_wait)
    results = await asyncio.gather(*confirming, return_exceptions=True)
    [refusal_] = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert reason(refusal_) == "ORDER_OUT_OF_STOCK"
    assert await shop.stock("FEW") == 4


async def test_a_change_that_must_be_looked_at_takes_the_invoice_back(shop: Shop) -> None:
    await shop.placed(("NP", "10"))
    placed = await shop.placed(("PB-12", "100"))
    order = Order(name=placed.name, lines=[line("PB-12", "1000")])
    held = await shop.stub.UpdateOrder(rpc.UpdateOrderRequest(order=order, request_id=new_key()), metadata=shop.who())
    assert list(held.hold_reasons) == ["ABOVE_USUAL"]
    assert [state for _, state, _ in await shop.ledger(placed.name)] == ["VOIDED"]
    await move(shop, "Accept", held)
    assert [state for _, state, _ in await shop.ledger(placed.name)] == ["VOIDED", "QUEUED"]


async def test_pages_join_to_the_whole_list(shop: Shop) -> None:
    made = [(await shop.create()).name for _ in range(5)]
    await shop.create(outlet="wok")
    await move(shop, "Cancel", Order(name=made[0]))
    names, token = [], ""
    while True:
        request = rpc.ListOrdersRequest(page_size=2, page_token=token)
        page = await shop.stub.ListOrders(request, metadata=shop.who())
        names += [order.name for order in page.orders]
        token = page.next_page_token
        if not token:
            break
    assert names == made[::-1]
    request = rpc.ListOrdersRequest(states=[Order.CANCELLED], outlet="outlets/pizza")
    page = await shop.stub.ListOrders(request, metadata=shop.who(Role.STAFF))
    assert [order.name for order in page.orders] == made[:1]
    request = rpc.ListOrdersRequest(page_token=page.next_page_token or "forged")
    assert reason(await refused(shop.stub.ListOrders(request, metadata=shop.who()))) == "PAGE_TOKEN_INVALID"
    assert len((await shop.stub.ListOrders(rpc.ListOrdersRequest(), metadata=shop.who(Role.STAFF))).orders) == 6


async def test_provenance_is_kept(shop: Shop) -> None:
    said = order_pb2.Provenance(message="conversations/c/messages/m", start=4, end=24, confidence=0.9)
    order = Order(lines=[order_pb2.OrderLine(sku="PB-12", quantity="200", provenance=[said])])
    made = await shop.stub.CreateOrder(
        rpc.CreateOrderRequest(order=order, request_id=str(uuid.uuid4())), metadata=shop.who()
    )
    assert list(made.lines[0].provenance) == [said]
