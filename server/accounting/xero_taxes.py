"""Which of Xero's tax types a line is booked under: found by its percentage among those usable for sales."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from server.accounting.books import Rejected
from server.accounting.budget import Lane
from server.accounting.xero_calls import Call, XeroCalls, unread
from server.accounting.xero_wire import Unreadable, elements
from server.order.invoicing import InvoiceLine

_KEPT = 3600.0  # seconds that the organisation's tax rates are remembered


@dataclass(frozen=True, slots=True)
class TaxType:
    """A tax rate of the organisation that sales may be booked under; `rate` 0.09 is 9 %."""

    code: str
    name: str
    rate: Decimal


class XeroTaxes:
    """Tax types by tax code and rate, for all tenants. `chosen` maps tax codes to types that were configured."""

    def __init__(self, calls: XeroCalls, chosen: Mapping[str, str]) -> None:
        self._calls = calls
        self._chosen = chosen
        self._known: dict[str, tuple[float, Sequence[TaxType]]] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def types(self, tenant: str, lane: Lane, lines: Iterable[InvoiceLine]) -> dict[tuple[str, Decimal], str]:
        """The type of each (tax code, rate) of the lines. Raises Rejected when one has none, and BooksError."""
        wanted = dict.fromkeys((line.tax_code, line.tax_rate) for line in lines)
        fresh, known = await self._types(tenant, lane)
        try:
            return {each: self._of(*each, known) for each in wanted}
        except Rejected:
            if fresh:
                raise
        # It may have been added in Xero since: look once more before a person is sent there.
        self._known.pop(tenant, None)
        _, known = await self._types(tenant, lane)
        return {each: self._of(*each, known) for each in wanted}

    async def _types(self, tenant: str, lane: Lane) -> tuple[bool, Sequence[TaxType]]:
        """Whether they were read just now, and the types."""
        async with self._asking.setdefault(tenant, asyncio.Lock()):
            at, known = self._known.get(tenant, (0.0, ()))
            if known and time.monotonic() - at < _KEPT:
                return False, known
            told = await self._calls.call(tenant, lane, Call("get_tax_rates"))
            try:
                known = _usable(elements(told, "TaxRates"))
            except Unreadable as unreadable:
                raise unread(unreadable, write=False) from unreadable
            self._known[tenant] = (time.monotonic(), known)
            return True, known

    def _of(self, tax_code: str, rate: Decimal, known: Sequence[TaxType]) -> str:
        percent = f"{(rate * 100).normalize():f} %"
        if chosen := self._chosen.get(tax_code):
            if any(each.code == chosen and each.rate == rate for each in known):
                return chosen
            raise Rejected([f"Xero has no tax type {chosen} of {percent} for sales; XERO_TAX_TYPES names it"])
        fitting = [each for each in known if each.rate == rate]
        if not fitting:
            raise Rejected(
                [f"Xero has no tax rate of {percent} for sales: add one there, or name one in XERO_TAX_TYPES"]
            )
        for better in (
            [each for each in fitting if tax_code.casefold() in {each.code.casefold(), each.name.casefold()}],
            [each for each in fitting if each.code == "OUTPUT"],
            [each for each in fitting if each.code.startswith("OUTPUT")],
            fitting,
        ):
            if len(better) == 1:
                return better[0].code
        names = ", ".join(sorted(each.code for each in fitting))
        raise Rejected(
            [f"several tax types of Xero are {percent} ({names}): choose one for {tax_code} in XERO_TAX_TYPES"]
        )


def _usable(rates: Sequence[Mapping[str, Any]]) -> list[TaxType]:
    return [
        TaxType(str(each["TaxType"]), str(each.get("Name") or ""), each["EffectiveRate"] / 100)
        for each in rates
        if each.get("Status") == "ACTIVE" and each.get("CanApplyToRevenue") is True and each.get("TaxType")
        if isinstance(each.get("EffectiveRate"), Decimal)
    ]
