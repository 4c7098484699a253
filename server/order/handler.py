"""OrderService on the wire: decode, one call, encode."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from server.audit.actor import Shown
from server.audit.changes import Author
from server.caller import current_caller, current_request
from server.idempotency import Idempotency, Once
from server.order import decode, encode
from server.order.catalogue import Catalogue, ImportReport
from server.order.catalogue_csv import Row
from server.order.order import Order
from server.order.product import RowError
from server.order.states import Move
from server.order.wiring import OrderDesk
from server.paging import PageTokens, page_size
from server.replays import tell_replayed
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Moving: TypeAlias = (
    order_service_pb2.AcceptOrderRequest
    | order_service_pb2.RejectOrderRequest
    | order_service_pb2.FulfilOrderRequest
    | order_service_pb2.CompleteOrderRequest
    | order_service_pb2.CancelOrderRequest
)

_BATCH = 200


class OrderHandler(order_service_pb2_grpc.OrderServiceServicer):
    """The RPCs of the catalogue and of orders."""

    def __init__(
        self,
        catalogue: Catalogue,
        tokens: PageTokens,
        shown: Shown,
        desk: OrderDesk,
    ) -> None:
        self._catalogue = catalogue
        self._tokens = tokens
        self._shown = shown
        self._desk = desk

    async def ListProducts(
        self, request: order_service_pb2.ListProductsRequest, context: Context
    ) -> order_service_pb2.ListProductsResponse:
        """Products by SKU, a page at a time."""
        tenant = current_caller.get().tenant
        query = f"ListProducts\n{tenant}\n{request.category}\n{request.include_inactive}"
        wanted = self._tokens.read(query, request.page_token, page_size(request.page_size))
        after = wanted.after[0] if wanted.after else ""
        found, more = await self._catalogue.page(
            tenant, after, wanted.size, category=request.category, inactive=request.include_inactive
        )
        token = self._tokens.make(query, (found[-1].sku,)) if more else ""
        products = map(encode.product_message, found)
        return order_service_pb2.ListProductsResponse(products=products, next_page_token=token)

    async def SearchProducts(
        self, request: order_service_pb2.SearchProductsRequest, context: Context
    ) -> order_service_pb2.SearchProductsResponse:
        """Products that fit the query, best first."""
        size = page_size(request.page_size, default=10, largest=50)
        found = await self._catalogue.search(current_caller.get().tenant, request.query, size)
        return order_service_pb2.SearchProductsResponse(
            results=[
                order_service_pb2.ProductMatch(product=encode.product_message(match.product), score=match.score)
                for match in found
            ]
        )

    async def GetProduct(self, request: order_service_pb2.GetProductRequest, context: Context) -> order_pb2.Product:
        """One product."""
        sku = request.name.removeprefix("products/")
        return encode.product_message(await self._catalogue.get(current_caller.get().tenant, sku))

    async def ImportProducts(
        self, request_iterator: AsyncIterator[order_service_pb2.ImportProductsRequest], context: Context
    ) -> order_service_pb2.ImportProductsResponse:
        """Products in batches as they come in; what was stored before a broken stream stays stored."""
        author = self._author()
        report = ImportReport()
        batch: list[Row] = []
        async for request in request_iterator:
            row = decode.product_row(request)
            if isinstance(row, RowError):
                report.errors.append(row)
                continue
            batch.append(row)
            if len(batch) == _BATCH:
                report.add(await self._catalogue.import_rows(author, batch))
                batch = []
        report.add(await self._catalogue.import_rows(author, batch))
        return encode.report_message(report)

    async def QuoteOrder(
        self, request: order_service_pb2.QuoteOrderRequest, context: Context
    ) -> order_service_pb2.QuoteOrderResponse:
        """Prices, tax and what stands in the way."""
        outlet, priced = await self._desk.placing.quote(current_caller.get(), decode.quote(request))
        return encode.quote_message(outlet, priced)

    async def CreateOrder(self, request: order_service_pb2.CreateOrderRequest, context: Context) -> order_pb2.Order:
        """A draft, priced."""
        draft = decode.draft(request.order)
        return await self._once(request, context, lambda author, key: self._desk.placing.create(author, draft, key))

    async def GetOrder(self, request: order_service_pb2.GetOrderRequest, context: Context) -> order_pb2.Order:
        """One order."""
        return encode.order_message(await self._desk.reading.get(current_caller.get(), request.name))

    async def ListOrders(
        self, request: order_service_pb2.ListOrdersRequest, context: Context
    ) -> order_service_pb2.ListOrdersResponse:
        """Orders, newest first, a page at a time."""
        found, token = await self._desk.reading.page(
            current_caller.get(),
            request.outlet,
            decode.states(request.states),
            request.page_size,
            request.page_token,
        )
        return order_service_pb2.ListOrdersResponse(orders=map(encode.order_message, found), next_page_token=token)

    async def UpdateOrder(self, request: order_service_pb2.UpdateOrderRequest, context: Context) -> order_pb2.Order:
        """New lines, delivery day or note."""
        change, order = decode.change(request), request.order
        return await self._once(
            request,
            context,
            lambda author, key: self._desk.changing.update(author, order.name, order.etag, change, key),
        )

    async def ConfirmOrder(self, request: order_service_pb2.ConfirmOrderRequest, context: Context) -> order_pb2.Order:
        """The customer confirms."""
        return await self._once(
            request, context, lambda author, key: self._desk.deciding.confirm(author, request.name, request.etag, key)
        )

    async def AcceptOrder(self, request: order_service_pb2.AcceptOrderRequest, context: Context) -> order_pb2.Order:
        """The supplier accepts."""
        return await self._move(request, context, Move.ACCEPT)

    async def RejectOrder(self, request: order_service_pb2.RejectOrderRequest, context: Context) -> order_pb2.Order:
        """The supplier refuses."""
        return await self._move(request, context, Move.REJECT, request.reason)

    async def FulfilOrder(self, request: order_service_pb2.FulfilOrderRequest, context: Context) -> order_pb2.Order:
        """Picking begins."""
        return await self._move(request, context, Move.FULFIL)

    async def CompleteOrder(self, request: order_service_pb2.CompleteOrderRequest, context: Context) -> order_pb2.Order:
        """It was delivered."""
        return await self._move(request, context, Move.COMPLETE)

    async def CancelOrder(self, request: order_service_pb2.CancelOrderRequest, context: Context) -> order_pb2.Order:
        """It is called off."""
        return await self._move(request, context, Move.CANCEL, request.reason)

    async def WatchOrders(
        self, request: order_service_pb2.WatchOrdersRequest, context: Context
    ) -> AsyncGenerator[order_service_pb2.OrderEvent, None]:
        """Changes of orders from a cursor on, then live."""
        watched = self._desk.watching.watch(
            current_caller.get(), request.cursor, request.outlet, decode.states(request.states)
        )
        async with aclosing(watched) as items:
            async for item in items:
                yield encode.event_message(item)

    async def _move(self, request: Moving, context: Context, move: Move, reason: str = "") -> order_pb2.Order:
        return await self._once(
            request,
            context,
            lambda author, key: self._desk.deciding.move(author, request.name, request.etag, move, reason, key),
        )

    async def _once(
        self, request: Message, context: Context, run: Callable[[Author, Idempotency[Order]], Awaitable[Once]]
    ) -> order_pb2.Order:
        """Runs a write that may be sent twice; a replayed answer says so in a trailer."""
        done = await run(self._author(), key_of(request, _order_bytes))
        if done.replayed:
            await tell_replayed(context)
        return order_pb2.Order.FromString(done.answer)

    def _author(self) -> Author:
        return Author(current_caller.get(), current_request.get(), self._shown)


def key_of(request: Any, encoded: Callable[[Order], bytes]) -> Idempotency[Order]:
    """What makes the call repeatable: its method, its request_id, and the rest of the request."""
    body = type(request)()
    body.CopyFrom(request)
    body.ClearField("request_id")
    method = type(request).__name__.removesuffix("Request")
    return Idempotency(method, request.request_id, body.SerializeToString(deterministic=True), encoded)


def _order_bytes(order: Order) -> bytes:
    return encode.order_message(order).SerializeToString()
