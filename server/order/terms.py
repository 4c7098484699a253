"""What a tenant's settings and an outlet's row say about ordering: fees, minimum, calendar, holds.

Everything is in the object `ordering` of `tenant.settings`; every key may be left out, amounts are strings:

    {"time_zone": "Asia/Singapore",           IANA name; cut-offs and dates are local to it
     "rounding": "HALF_UP",                   or HALF_EVEN: of each line and its tax to the cent
     "zero_rated_codes": ["ZR", "ES", "OS"],  tax codes of products without tax; all others have the dated rate
     "fee_tax_code": "SR",                    tax code of fees
     "minimum_order": "0",                    before fees and tax; an outlet's own minimum replaces it when it has one
     "first_order_minimum": "0",              for an outlet without a confirmed order, when it is higher
     "delivery_fee": "0", "free_delivery_from": "0",   before tax; the fee falls away from that value on
     "zones": {"North": {"days": ["MON", "THU"], "surcharge": "0"}},   by `outlet.zone`
     "working_days": {"MON": "15:30"},        days on which orders are packed, with their cut-off; left out: every day
     "delivery_cutoffs": {"SAT": "12:00"},    another cut-off on the working day before deliveries of that weekday
     "holidays": ["2026-12-25"],              neither packed nor delivered
     "hold": {"usual_percent": "200", "first_order_above": "1000", "any_above": "5000"},
     "duplicate_minutes": 10,                 0: similar orders are never asked about
     "proposal_minutes": 30}                  how long a proposal can be confirmed

`outlet.order_cutoff` replaces the cut-off of every working day for that outlet.
"""

from __future__ import annotations

import decimal
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, Final, LiteralString
from zoneinfo import ZoneInfo

from server.db.pool import Connection
from server.errors import AppError, Code, Reason
from server.order.delivery_days import WEEKDAYS, Calendar
from server.order.holds import HoldRules
from server.settings import TaxRate

_ROUNDING = {"HALF_UP": decimal.ROUND_HALF_UP, "HALF_EVEN": decimal.ROUND_HALF_EVEN}
_ZERO_RATED = ("ZR", "ES", "OS")
# A misspelt key would be a rule that silently does not hold.
_KEYS = frozenset(
    """time_zone rounding zero_rated_codes fee_tax_code minimum_order first_order_minimum delivery_fee
    free_delivery_from zones working_days delivery_cutoffs holidays hold duplicate_minutes proposal_minutes""".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class MoneyRules:
    """What every tenant of this installation computes with: dated tax rates, oldest first, and the currency."""

    tax_rates: Sequence[TaxRate]
    currency: str

    def rate(self, day: date) -> Decimal:
        """The standard tax rate on `day`; before the first dated rate there is no tax to charge."""
        return max((rate for rate in self.tax_rates if rate.since <= day), key=_since, default=_NO_TAX).rate


_NO_TAX = TaxRate(date.min, Decimal(0))


def _since(rate: TaxRate) -> date:
    return rate.since


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for an order of one outlet. Amounts are before tax, in `money.currency`."""

    outlet: str
    outlet_name: str
    language: str  # "en", "zh" or "ms"
    money: MoneyRules
    calendar: Calendar
    rounding: str = decimal.ROUND_HALF_UP
    zero_rated: frozenset[str] = frozenset(_ZERO_RATED)
    fee_tax_code: str = "SR"
    minimum: Decimal = Decimal(0)
    delivery_fee: Decimal = Decimal(0)
    free_delivery_from: Decimal = Decimal(0)
    zone: str = ""
    surcharge: Decimal = Decimal(0)
    credit_hold: bool = False
    payment_days: int = 30
    holds: HoldRules = field(default_factory=HoldRules)
    duplicate_window: timedelta = timedelta(minutes=10)
    proposal_life: timedelta = timedelta(minutes=30)


SELECT_TERMS: Final[LiteralString] = """
select outlet.name, outlet.language, outlet.payment_terms_days, outlet.minimum_order, outlet.order_cutoff,
       outlet.credit_hold, outlet.zone, coalesce(tenant.settings -> 'ordering', '{}') as settings,
       coalesce((select orders from outlet_habit where tenant = $1 and outlet = $2), 0) as orders
from outlet join tenant on tenant.id = outlet.tenant
where outlet.tenant = $1 and outlet.id = $2 and (outlet.active or $3)"""

# Confirmations of one outlet take turns, so that two similar orders cannot both be the first.
LOCK_OUTLET: Final[LiteralString] = "select 1 from outlet where tenant = $1 and id = $2 for no key update"


async def lock_outlet(connection: Connection, tenant: str, outlet: str) -> None:
    """The outlet's turn to confirm, change or call off orders, until the transaction ends."""
    await connection.fetchval(LOCK_OUTLET, tenant, outlet)


async def load_terms(
    connection: Connection, tenant: str, outlet: str, money: MoneyRules, *, closed: bool = False
) -> Terms:
    """The outlet's terms; with `closed`, also those of one that orders no more.

    Raises NOT_FOUND (OUTLET_UNKNOWN).
    """
    row = await connection.fetchrow(SELECT_TERMS, tenant, outlet, closed)
    if row is None:
        raise AppError(
            Code.NOT_FOUND,
            Reason.OUTLET_UNKNOWN,
            "there is no such outlet to order for",
            metadata={"outlet": f"outlets/{outlet}"},
        )
    settings: dict[str, Any] = json.loads(row["settings"])
    if unknown := settings.keys() - _KEYS:
        raise ValueError(f"settings of tenant {tenant}: ordering has no {min(unknown)}")
    minimum = row["minimum_order"] or _amount(settings, "minimum_order")
    if not row["orders"]:
        minimum = max(minimum, _amount(settings, "first_order_minimum"))
    zone = settings.get("zones", {}).get(row["zone"], {})
    return Terms(
        outlet=outlet,
        outlet_name=row["name"],
        language=spoken(row["language"]),
        money=money,
        calendar=_calendar(settings, zone, row["order_cutoff"]),
        rounding=_ROUNDING[settings.get("rounding", "HALF_UP")],
        zero_rated=frozenset(settings.get("zero_rated_codes", _ZERO_RATED)),
        fee_tax_code=settings.get("fee_tax_code", "SR"),
        minimum=minimum,
        delivery_fee=_amount(settings, "delivery_fee"),
        free_delivery_from=_amount(settings, "free_delivery_from"),
        zone=row["zone"],
        surcharge=_amount(zone, "surcharge"),
        credit_hold=row["credit_hold"],
        payment_days=row["payment_terms_days"],
        holds=HoldRules(**{key: Decimal(value) for key, value in settings.get("hold", {}).items()}),
        duplicate_window=timedelta(minutes=settings.get("duplicate_minutes", 10)),
        proposal_life=timedelta(minutes=settings.get("proposal_minutes", 30)),
    )


def spoken(language: str) -> str:
    """The language of BCP 47 tag that sentences are written in; English for all that are not."""
    primary = language.partition("-")[0].lower()
    return primary if primary in {"zh", "ms"} else "en"


def _amount(settings: Mapping[str, Any], key: str) -> Decimal:
    return Decimal(settings.get(key, "0"))


def _calendar(settings: Mapping[str, Any], zone: Mapping[str, Any], own_cutoff: time | None) -> Calendar:
    named = settings.get("working_days")
    working = {_weekday(day): time.fromisoformat(at) for day, at in named.items()} if named else dict.fromkeys(range(7))
    if own_cutoff is not None:
        working = dict.fromkeys(working, own_cutoff)
    return Calendar(
        zone=ZoneInfo(settings.get("time_zone", "Asia/Singapore")),
        working_days=working,
        delivery_cutoffs={
            _weekday(day): time.fromisoformat(at) for day, at in settings.get("delivery_cutoffs", {}).items()
        },
        delivery_days=frozenset(_weekday(day) for day in zone.get("days", WEEKDAYS)),
        holidays=frozenset(date.fromisoformat(day) for day in settings.get("holidays", ())),
    )


def _weekday(name: str) -> int:
    return WEEKDAYS.index(name)
