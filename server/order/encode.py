"""Products and orders as messages of `tria.order.v1`."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money as WireMoney

from server.errors import Reason
from server.order.catalogue import ImportReport
from server.order.invoicing import InvoiceView
from server.order.money import Money
from server.order.order import Order
from server.order.pricing import Line, Priced, plain
from server.order.product import CatalogueProduct
from server.order.watching import Changed, Item
from server.stream_life import Alive
from tria.order.v1 import order_pb2, order_service_pb2

_MOST_ERRORS = 1000
_MOST_VIOLATIONS = 50


def product_message(product: CatalogueProduct) -> order_pb2.Product:
    return order_pb2.Product(
        name=f"products/{product.sku}",
        sku=product.sku,
        display_name=product.name,
        name_zh=product.name_zh,
        name_ms=product.name_ms,
        aliases=product.aliases,
        unit=product.unit,
        pack_size=product.pack_size,
        price=money_message(product.price),
        tax_code=product.tax_code,
        min_quantity=plain(product.min_quantity),
        stock="" if product.stock is None else plain(product.stock),
        category=product.category,
        active=product.active,
        etag=product.etag,
    )


def report_message(report: ImportReport) -> order_service_pb2.ImportProductsResponse:
    errors = sorted(report.errors, key=lambda error: error.line)[:_MOST_ERRORS]
    return order_service_pb2.ImportProductsResponse(
        created=report.created,
        updated=report.updated,
        unchanged=report.unchanged,
        errors=[
            order_service_pb2.ImportError(
                line=error.line, sku=error.sku, message=error.message[:500], reason=Reason.PRODUCT_ROW_INVALID
            )
            for error in errors
        ],
    )


def money_message(money: Money) -> WireMoney:
    units, nanos = money.to_wire()
    return WireMoney(currency_code=money.currency, units=units, nanos=nanos)


def amount_message(currency: str, amount: Decimal) -> WireMoney:
    return money_message(Money(currency, amount))


def order_message(order: Order) -> order_pb2.Order:
    message = priced_message(order.outlet, order.priced)
    message.name = order.name
    message.number = order.number
    message.state = order_pb2.Order.State.Value(order.state.value)
    message.note = order.note
    message.conversation = order.conversation
    message.hold_reasons.extend(order.hold_reasons)
    message.revision = order.revision
    message.create_time.FromDatetime(order.create_time)
    message.update_time.FromDatetime(order.update_time)
    message.etag = order.etag
    if order.invoice is not None:
        message.invoice.CopyFrom(_invoice(order.invoice))
    return message


def priced_message(outlet: str, priced: Priced) -> order_pb2.Order:
    """An order that is not stored, without a name."""
    day = priced.delivery_date
    currency = priced.currency
    return order_pb2.Order(
        outlet=f"outlets/{outlet}",
        lines=[_line(line, currency) for line in priced.lines],
        delivery_date=Date(year=day.year, month=day.month, day=day.day),
        subtotal=amount_message(currency, priced.subtotal),
        fees=amount_message(currency, priced.fees),
        tax=amount_message(currency, priced.tax),
        total=amount_message(currency, priced.total),
    )


def quote_message(outlet: str, priced: Priced) -> order_service_pb2.QuoteOrderResponse:
    return order_service_pb2.QuoteOrderResponse(
        order=priced_message(outlet, priced),
        violations=[
            order_service_pb2.OrderViolation(reason=each.reason.value, message=each.message, sku=each.sku)
            for each in priced.violations[:_MOST_VIOLATIONS]
        ],
    )


def event_message(item: Item) -> order_service_pb2.OrderEvent:
    """One item of a watch; signs of life have no id and no time."""
    event = order_service_pb2.OrderEvent(cursor=item.cursor)
    if isinstance(item, Changed):
        event.event_id = item.event.event_id
        event.time.FromDatetime(item.event.time)
        event.order.CopyFrom(order_message(item.event.order))
    elif isinstance(item, Alive):
        event.heartbeat.SetInParent()
    else:
        event.reconnect.delay.FromMilliseconds(round(item.delay * 1000))
    return event


def _line(line: Line, currency: str) -> order_pb2.OrderLine:
    return order_pb2.OrderLine(
        sku=line.sku,
        description=line.description,
        quantity=plain(line.quantity),
        unit=line.unit,
        unit_price=amount_message(currency, line.unit_price),
        tax_rate=plain(line.tax_rate),
        line_tax=amount_message(currency, line.line_tax),
        line_total=amount_message(currency, line.line_total),
        provenance=[
            order_pb2.Provenance(
                message=origin.message, start=origin.start, end=origin.end, confidence=origin.confidence
            )
            for origin in line.provenance
        ],
    )


def _invoice(view: InvoiceView) -> order_pb2.Invoice:
    return order_pb2.Invoice(
        state=order_pb2.Invoice.State.Value(view.state.value),
        number=view.number,
        attempts=view.attempts,
        next_attempt_time=_stamp(view.next_attempt_time),
        last_error=view.last_error,
        booked_total=money_message(view.booked_total) if view.booked_total else None,
    )


def _stamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
