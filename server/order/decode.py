"""Messages of `tria.order.v1` as values of the domain."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from google.type.date_pb2 import Date

from server.errors import invalid
from server.order.catalogue_csv import Row
from server.order.changing import Change
from server.order.money import Money, MoneyError
from server.order.placing import Draft
from server.order.pricing import Provenance, Wanted
from server.order.product import CatalogueProduct, RowError
from server.order.states import State
from tria.order.v1 import order_pb2, order_service_pb2

_QUANTITY = re.compile(r"[0-9]{1,12}(\.[0-9]{1,4})?", re.ASCII)
_CHANGEABLE = ("lines", "delivery_date", "note")


def product_row(request: order_service_pb2.ImportProductsRequest) -> Row | RowError:
    """A product of an import, or why it is none."""
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


def draft(order: order_pb2.Order) -> Draft:
    """What CreateOrder is to store; fields that the server sets are not read. Raises INVALID_ARGUMENT."""
    return Draft(
        order.outlet, wanted(order.lines, "order.lines"), _day(order.delivery_date, "order.delivery_date"),
        order.note, order.conversation,
    )  # fmt: skip


def quote(request: order_service_pb2.QuoteOrderRequest) -> Draft:
    """What QuoteOrder is to price. Raises INVALID_ARGUMENT."""
    return Draft(request.outlet, wanted(request.lines, "lines"), _day(request.delivery_date, "delivery_date"))


def change(request: order_service_pb2.UpdateOrderRequest) -> Change:
    """The fields of the mask; without a mask, or with "*", those that are given (AIP-134). Raises INVALID_ARGUMENT."""
    order, paths = request.order, set(request.update_mask.paths)
    if unknown := paths - {*_CHANGEABLE, "*"}:
        raise invalid("update_mask", f"{min(unknown)} cannot be changed; lines, delivery_date and note can")
    if not paths:
        paths = {field.name for field, _ in order.ListFields()} & {*_CHANGEABLE}
    whole = "*" in paths
    if "delivery_date" in paths and not order.HasField("delivery_date"):
        raise invalid("order.delivery_date", "is in the mask but not given")
    return Change(
        wanted=wanted(order.lines, "order.lines") if whole or "lines" in paths else None,
        day=_day(order.delivery_date, "order.delivery_date") if whole or "delivery_date" in paths else None,
        note=order.note if whole or "note" in paths else None,
    )


def wanted(lines: Iterable[order_pb2.OrderLine], field: str) -> list[Wanted]:
    """SKU, quantity and provenance of each line; what else it holds is the server's. Raises INVALID_ARGUMENT."""
    found = []
    for index, line in enumerate(lines):
        # The contract's pattern lets "0" pass; it is no quantity to order.
        if not _QUANTITY.fullmatch(line.quantity) or not Decimal(line.quantity):
            raise invalid(f"{field}[{index}].quantity", "must be a decimal number above zero")
        origins = tuple(Provenance(each.message, each.start, each.end, each.confidence) for each in line.provenance)
        found.append(Wanted(line.sku, Decimal(line.quantity), origins))
    return found


def states(values: Iterable[int]) -> list[State]:
    """The states of a filter; the unspecified one filters nothing."""
    return [State(order_pb2.Order.State.Name(value)) for value in values if value]  # type: ignore[arg-type]


def _day(day: Date, field: str) -> date | None:
    if not (day.year or day.month or day.day):
        return None
    try:
        return date(day.year, day.month, day.day)
    except ValueError as cause:
        raise invalid(field, "is no day of the calendar") from cause
