"""Telling products and orders in the customer's language. Figures come from the catalogue and the orders only."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from server.chat.assistant import Language, OrderSummary, Product
from server.chat.replies import Voice
from server.order.money import Money
from server.order.pricing import plain
from server.order.proposal import Proposal


def product_lines(products: Sequence[Product], voice: Voice) -> str:
    """One product in a sentence or several as a list, prices said to be before tax."""
    if len(products) == 1:
        product = products[0]
        stock = voice.say("stock_yes" if product.in_stock else "stock_no")
        gap = "" if voice.language is Language.ZH else " "
        return _row("product_one", product, voice, stock) + gap + voice.say("tax")
    rows = [
        _row("product_row", product, voice, voice.say("row_stock_yes" if product.in_stock else "row_stock_no"))
        for product in products
    ]
    return "\n".join([*rows, voice.say("tax")])


def order_line(name: str, order: OrderSummary, voice: Voice) -> str:
    """The text `name` (orders_one, orders_row) about one order."""
    return voice.say(
        name,
        number=order.number,
        date=order.placed_on,
        state=voice.word("states", order.state),
        total=_price(order.currency, order.total, rounded=True),
    )


def proposal_lines(proposal: Proposal, voice: Voice) -> str:
    """The lines of a proposal, fees as well, each with its amount before tax."""
    rows = []
    for line in proposal.lines:
        amount = _price(proposal.currency, line.line_total, rounded=True)
        if line.sku:
            count = f"{plain(line.quantity)} {voice.word('units' if line.quantity == 1 else 'units_many', line.unit)}"
            rows.append(voice.say("order_row", count=count, name=line.description, sku=line.sku, amount=amount))
        else:
            rows.append(voice.say("order_fee", name=line.description, amount=amount))
    return "\n".join(rows)


def total_of(proposal: Proposal) -> str:
    """What is to be paid, tax included."""
    return _price(proposal.currency, proposal.total, rounded=True)


def _row(text: str, product: Product, voice: Voice, stock: str) -> str:
    return voice.say(
        text,
        name=product.names.get(voice.language.value) or product.name,
        sku=product.sku,
        price=_price(product.currency, product.price),
        unit=voice.word("units", product.unit),
        pack=_pack(product, voice),
        minimum=_count(product.min_quantity, product.unit, voice),
        stock=stock,
    )


def _pack(product: Product, voice: Voice) -> str:
    if product.pack_size == 1:
        return voice.say("pack_single")
    name = "pack_piece" if product.unit == "piece" else "pack_unit"
    return voice.say(name, size=f"{product.pack_size:,}", unit=voice.word("units", product.unit))


def _count(number: int, unit: str, voice: Voice) -> str:
    gap = "" if voice.language is Language.ZH else " "
    return f"{number:,}{gap}{voice.word('units' if number == 1 else 'units_many', unit)}"


def _price(currency: str, amount: Decimal, *, rounded: bool = False) -> str:
    money = Money(currency, amount)
    return str(money.rounded() if rounded else money)
