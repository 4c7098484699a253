"""The catalogue RPCs of OrderService: decode, one call, encode."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, TypeAlias

import grpc

from server.audit.actor import Shown
from server.audit.changes import Author
from server.caller import current_caller, current_request
from server.order.catalogue import Catalogue, ImportReport
from server.order.catalogue_csv import Row
from server.order.money import Money, MoneyError
from server.order.product import CatalogueProduct, RowError
from server.paging import PageTokens, page_size
from tria.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc

# The context is never touched: identity comes as an argument, errors leave as AppError.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_BATCH = 200
_MOST_ERRORS = 1000
_QUANTITY = re.compile(r"[0-9]{1,12}(\.[0-9]{1,4})?", re.ASCII)


class OrderHandler(order_service_pb2_grpc.OrderServiceServicer):
    """OrderService on the wire."""

    def __init__(self, catalogue: Catalogue, tokens: PageTokens, shown: Shown) -> None:
        self._catalogue = catalogue
        self._tokens = tokens
        self._shown = shown

    async def ListProducts(
        self, request: order_service_pb2.ListProductsRequest, _context: Context
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
        return order_service_pb2.ListProductsResponse(products=map(_encode, found), next_page_token=token)

    async def SearchProducts(
        self, request: order_service_pb2.SearchProductsRequest, _context: Context
    ) -> order_service_pb2.SearchProductsResponse:
        """Products that fit the query, best first."""
        size = page_size(request.page_size, default=10, largest=50)
        found = await self._catalogue.search(current_caller.get().tenant, request.query, size)
        return order_service_pb2.SearchProductsResponse(
            results=[
                order_service_pb2.ProductMatch(product=_encode(match.product), score=match.score) for match in found
            ]
        )

    async def GetProduct(self, request: order_service_pb2.GetProductRequest, _context: Context) -> order_pb2.Product:
        """One product."""
        sku = request.name.removeprefix("products/")
        return _encode(await self._catalogue.get(current_caller.get().tenant, sku))

    async def ImportProducts(
        self,
        request_iterator: AsyncIterator[order_service_pb2.ImportProductsRequest],
        _context: Context,
    ) -> order_service_pb2.ImportProductsResponse:
        """Products in batches as they come in; what was stored before a broken stream stays stored."""
        author = Author(current_caller.get(), current_request.get(), self._shown)
        report = ImportReport()
        batch: list[Row] = []
        async for request in request_iterator:
            row = _decode(request)
            if isinstance(row, RowError):
                report.errors.append(row)
                continue
            batch.append(row)
            if len(batch) == _BATCH:
                report.add(await self._catalogue.import_rows(author, batch))
                batch = []
        report.add(await self._catalogue.import_rows(author, batch))
        return _encode_report(report)


def _decode(request: order_service_pb2.ImportProductsRequest) -> Row | RowError:
    product = request.product
    try:
        price = Money.from_wire(product.price.currency_code, product.price.units, product.price.nanos)
    except MoneyError as error:
        return RowError(request.line, product.sku[:64], f"price: {error}")
    for field, text in (("min_quantity", product.min_quantity), ("stock", product.stock)):
        if text and not _QUANTITY.fullmatch(text):
            return RowError(request.line, product.sku[:64], f"{field}: not a plain decimal number")
    decoded = CatalogueProduct(
        sku=product.sku,
        name=product.display_name,
        unit=product.unit,
        pack_size=product.pack_size,
        price=price,
        tax_code=product.tax_code,
        name_zh=product.name_zh,
        name_ms=product.name_ms,
        aliases=tuple(product.aliases),
        min_quantity=Decimal(product.min_quantity or "1"),
        stock=Decimal(product.stock) if product.stock else None,
        category=product.category,
        active=product.active if product.HasField("active") else True,
    )
    return Row(request.line, decoded)


def _encode(product: CatalogueProduct) -> order_pb2.Product:
    encoded = order_pb2.Product(
        name=f"products/{product.sku}",
        sku=product.sku,
        display_name=product.name,
        name_zh=product.name_zh,
        name_ms=product.name_ms,
        aliases=product.aliases,
        unit=product.unit,
        pack_size=product.pack_size,
        tax_code=product.tax_code,
        min_quantity=_plain(product.min_quantity),
        stock="" if product.stock is None else _plain(product.stock),
        category=product.category,
        active=product.active,
        etag=product.etag,
    )
    encoded.price.currency_code = product.price.currency
    encoded.price.units, encoded.price.nanos = product.price.to_wire()
    return encoded


def _plain(quantity: Decimal) -> str:
    """Without exponent and trailing zeros: "100", "0.5"."""
    return f"{quantity.normalize():f}"


def _encode_report(report: ImportReport) -> order_service_pb2.ImportProductsResponse:
    errors = sorted(report.errors, key=lambda error: error.line)[:_MOST_ERRORS]
    return order_service_pb2.ImportProductsResponse(
        created=report.created,
        updated=report.updated,
        unchanged=report.unchanged,
        errors=[
            order_service_pb2.ImportError(line=error.line, sku=error.sku, message=error.message[:500])
            for error in errors
        ],
    )
