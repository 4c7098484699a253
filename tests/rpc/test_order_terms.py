"""What a tenant's settings come to: the demo supplier orders as its own documents say."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from server.db.pool import Database
from server.embedded import demo
from server.errors import AppError, Reason
from server.order.holds import HoldRules
from server.order.terms import MoneyRules, Terms, load_terms
from server.settings import TaxRate

MONEY = MoneyRules((TaxRate(date(2024, 1, 1), Decimal("0.09")),), "SGD")


async def terms(database: Database, outlet: str, tenant: str = demo.TENANT) -> Terms:
    async with database.connection() as connection:
        return await load_terms(connection, tenant, outlet, MONEY)


async def test_the_demo_supplier(database: Database) -> None:
    """ordering.md, delivery.md, urgent-and-bulk-orders.md."""
    await demo.seed_tenant(database)
    sentosa = await terms(database, "kopi-corner-sentosa")
    assert (sentosa.delivery_fee, sentosa.free_delivery_from, sentosa.surcharge) == (12, 150, 18)  # type: ignore[comparison-overlap]
    assert sentosa.minimum == Decimal(120)
    async with database.connection() as connection:
        await connection.execute("insert into outlet_habit values ('demo', 'kopi-corner-sentosa', 1, 100)")
    assert (await terms(database, "kopi-corner-sentosa")).minimum == Decimal(80)
    assert sentosa.holds == HoldRules(Decimal(300), Decimal(2000), Decimal(4000))
    tuesday = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)  # 16:00 in Singapore, after the cut-off for Wednesday
    assert sentosa.calendar.earliest(tuesday) == date(2026, 11, 28)
    wok = await terms(database, "golden-wok-clementi")
    assert (wok.language, wok.payment_days) == ("zh", 30)
    assert (await terms(database, "island-canteen-jurong")).credit_hold


async def test_a_tenant_without_settings_has_no_rules(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("insert into tenant (id, name) values ('plain', 'Plain')")
        await connection.execute(
            "insert into outlet (tenant, id, name, minimum_order, order_cutoff) values ('plain', 'o', 'O', 50, '09:00')"
        )
    found = await terms(database, "o", "plain")
    assert (found.minimum, found.delivery_fee, found.surcharge) == (50, 0, 0)  # type: ignore[comparison-overlap]
    assert found.calendar.earliest(datetime(2026, 11, 29, 0, 59, tzinfo=UTC)) == date(2026, 11, 30)
    assert found.calendar.earliest(datetime(2026, 11, 29, 1, 0, tzinfo=UTC)) == date(2026, 12, 1)


async def test_outlets_that_order_no_more(database: Database) -> None:
    await demo.seed_tenant(database)
    async with database.connection() as connection:
        await connection.execute("update outlet set active = false where id = 'boba-bay-bedok'")
        with pytest.raises(AppError) as caught:
            await load_terms(connection, demo.TENANT, "boba-bay-bedok", MONEY)
        assert caught.value.reason is Reason.OUTLET_UNKNOWN
        assert await load_terms(connection, demo.TENANT, "boba-bay-bedok", MONEY, closed=True)


async def test_a_misspelt_setting_is_told(database: Database) -> None:
    await demo.seed_tenant(database)
    async with database.connection() as connection:
        await connection.execute("update tenant set settings = jsonb_set(settings, '{ordering,minimun}', '\"80\"')")
    with pytest.raises(ValueError, match="ordering has no minimun"):
        await terms(database, "boba-bay-bedok")
