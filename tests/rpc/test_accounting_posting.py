"""A confirmed order becomes exactly one invoice of the confirmed total, whatever the books answer."""

from __future__ import annotations

from decimal import Decimal

from tests.support.accounting import Accounts, total
from tests.support.orders import amount


async def test_a_confirmed_order_is_booked_once_with_the_confirmed_total(accounts: Accounts) -> None:
    async with accounts.working():
        placed = await accounts.placed(("PB-12", "200"), ("CT", "3"))
        order = await accounts.until(placed.name, "AUTHORISED")
    [booked] = accounts.booked(order)
    assert order.invoice.number == booked["number"] == order.number.replace("SO-", "INV-")
    assert Decimal(booked["total"]) == total(order) == amount(order.invoice.booked_total)
    assert booked["url"] == f"https://desk.example/{order.name}"
    assert order.invoice.attempts == 1
