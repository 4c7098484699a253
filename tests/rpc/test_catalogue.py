"""The catalogue on real PostgreSQL: import, prices over time, pages, search, tenants, and the RPCs' own part."""

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from decimal import Decimal
from importlib import resources
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio

from server.audit.actor import Shown
from server.audit.changes import operator
from server.caller import AuthMethod, Caller, Role, current_caller
from server.db.pool import Database
from server.errors import AppError, Reason
from server.order import catalogue_store as store
from server.order.catalogue import Catalogue
from server.order.catalogue_csv import Row, read_catalogue
from server.order.handler import OrderHandler
from server.order.money import Money
from server.order.product import CatalogueProduct
from server.paging import PageTokens
from server.settings import Secret
from tests.support.orders import desk_without_accounting
from tria.order.v1 import order_pb2, order_service_pb2

NO_CONTEXT = cast("grpc.aio.ServicerContext[Any, Any]", None)  # the handler never touches it


def product(sku: str = "PB-12", price: str = "0.58", **changes: Any) -> CatalogueProduct:
    plain = CatalogueProduct(
        sku, "Pizza box 12 inch", "piece", 100, Money("SGD", Decimal(price)), "SR", category="boxes"
    )
    return replace(plain, **changes)


def rows(*products: CatalogueProduct) -> list[Row]:
    return [Row(line, item) for line, item in enumerate(products, start=2)]


@pytest_asyncio.fixture
async def catalogue(database: Database) -> Catalogue:
    async with database.transaction() as connection:
        await connection.execute("insert into tenant (id, name) values ('lumen', 'Lumen'), ('other', 'Other')")
    return Catalogue(database)


@pytest.fixture
def caller() -> Iterator[None]:
    token = current_caller.set(Caller("lumen", "u1", frozenset({Role.STAFF}), AuthMethod.JWT))
    yield
    current_caller.reset(token)


async def test_importing_again_changes_nothing(catalogue: Catalogue) -> None:
    demo, _ = read_catalogue(resources.files("server").joinpath("demo_data/products.csv").read_bytes())
    first = await catalogue.import_rows(operator("lumen"), demo)
    assert (first.created, first.updated, first.unchanged, first.errors) == (len(demo), 0, 0, [])
    again = await catalogue.import_rows(operator("lumen"), demo)
    assert (again.created, again.updated, again.unchanged) == (0, 0, len(demo))
    assert again.revision == first.revision == await catalogue.revision("lumen")


async def test_what_was_stored_is_read_back(catalogue: Catalogue) -> None:
    stored = product(
        name_zh="披萨盒",
        name_ms="Kotak",
        aliases=("a", "b;c"),
        stock=Decimal("7.5"),
        min_quantity=Decimal(2),
        active=False,
    )
    await catalogue.import_rows(operator("lumen"), rows(stored))
    found = await catalogue.get("lumen", "PB-12")
    assert found == stored
    assert found.etag == stored.etag


async def test_a_new_price_ends_the_old_one(catalogue: Catalogue, database: Database) -> None:
    for price in ("0.58", "0.61", "0.610", "0.58"):
        report = await catalogue.import_rows(operator("lumen"), rows(product(price=price)))
    assert report.revision == 3
    assert (await catalogue.get("lumen", "PB-12")).price.amount == Decimal("0.58")
    async with database.connection() as connection:
        history = await connection.fetch("select amount, valid_from, valid_to from product_price order by valid_from")
    assert [row["amount"] for row in history] == [Decimal("0.58"), Decimal("0.61"), Decimal("0.58")]
    assert [row["valid_to"] for row in history[:-1]] == [row["valid_from"] for row in history[1:]]
    assert history[-1]["valid_to"] is None


async def test_bad_rows_are_reported_and_stop_no_other(catalogue: Catalogue) -> None:
    await catalogue.import_rows(operator("lumen"), rows(product("PB-12")))
    bad = product("ZERO", "0")
    report = await catalogue.import_rows(operator("lumen"), rows(bad, product("pb-12"), product("NEW"), product("new")))
    assert report.created == 1
    assert [(error.line, error.message) for error in report.errors] == [
        (2, "price: must be above zero"),
        (3, "sku: known as PB-12"),
        (5, "sku: the same as on line 4"),
    ]


async def test_a_new_tenant_begins_with_its_first_import(catalogue: Catalogue) -> None:
    report = await catalogue.import_rows(operator("newcomer"), rows(product()))
    assert report.created == 1
    assert (await catalogue.get("newcomer", "PB-12")).sku == "PB-12"


async def test_no_tenant_sees_another(catalogue: Catalogue) -> None:
    await catalogue.import_rows(operator("lumen"), rows(product()))
    await catalogue.import_rows(operator("other"), rows(product(price="9.99")))
    assert (await catalogue.get("lumen", "PB-12")).price.amount == Decimal("0.58")
    await catalogue.import_rows(operator("other"), rows(product("ONLY-OTHER", name="Unicorn bowl")))
    assert await catalogue.search("lumen", "unicorn bowl", 5) == []
    with pytest.raises(AppError) as caught:
        await catalogue.get("lumen", "ONLY-OTHER")
    assert caught.value.reason is Reason.RESOURCE_NOT_FOUND


@pytest_asyncio.fixture
async def demo(catalogue: Catalogue) -> Catalogue:
    found, _ = read_catalogue(resources.files("server").joinpath("demo_data/products.csv").read_bytes())
    await catalogue.import_rows(operator("lumen"), found)
    return catalogue


@pytest.mark.parametrize(
    ("query", "sku"),
    [
        ("pb-12-k", "PB-12-K"),
        ('plain 12" pizza box', "PB-12-K"),
        ("素面牛皮 十二寸 披萨盒", "PB-12-K"),
        ("kotak piza 12 inci kosong", "PB-12-K"),
        ("chopstiks", "CT-CS"),
        ("筷子", "CT-CS"),
    ],
)
async def test_search_finds_names_sizes_and_misspellings(demo: Catalogue, query: str, sku: str) -> None:
    assert (await demo.search("lumen", query, 3))[0].product.sku == sku


@pytest.mark.parametrize(
    "query", ["'; drop table product; --", "a & | ! ( ) :*", "\\' 'x' <-> y", "%_%", "\u0000box", "😀"]
)
async def test_search_takes_any_text_literally(demo: Catalogue, query: str) -> None:
    await demo.search("lumen", query, 3)
    assert len((await demo.page("lumen", "", 500))[0]) >= 60


async def test_what_is_not_sold_any_more_is_not_found(demo: Catalogue) -> None:
    chopsticks = await demo.get("lumen", "CT-CS")
    await demo.import_rows(operator("lumen"), rows(replace(chopsticks, active=False)))
    assert all(match.product.sku != "CT-CS" for match in await demo.search("lumen", "chopsticks", 5))


async def test_every_statement_prepares(database: Database) -> None:
    statements = {name: value for name, value in vars(store).items() if name.startswith("_") and isinstance(value, str)}
    statements = {name: sql for name, sql in statements.items() if not name.startswith("__")}
    assert len(statements) >= 9
    async with database.connection() as connection:
        for sql in statements.values():
            await connection.prepare(sql)


@pytest.fixture
def handler(demo: Catalogue, database: Database, dsn: str) -> OrderHandler:
    return OrderHandler(demo, PageTokens(Secret("x" * 32)), Shown(None), desk_without_accounting(database, dsn))


@pytest.mark.usefixtures("caller")
async def test_pages_join_to_the_whole_list(handler: OrderHandler) -> None:
    seen: list[str] = []
    token = ""
    while True:
        request = order_service_pb2.ListProductsRequest(page_size=25, page_token=token)
        answer = await handler.ListProducts(request, NO_CONTEXT)
        seen += [item.sku for item in answer.products]
        token = answer.next_page_token
        if not token:
            break
        assert len(answer.products) == 25
    assert seen == sorted(seen)
    assert len(seen) == len(set(seen)) >= 60


@pytest.mark.usefixtures("caller")
async def test_a_token_opens_its_own_query_only(handler: OrderHandler) -> None:
    first = await handler.ListProducts(order_service_pb2.ListProductsRequest(page_size=5), NO_CONTEXT)
    other = order_service_pb2.ListProductsRequest(page_size=5, category="cups", page_token=first.next_page_token)
    with pytest.raises(AppError) as caught:
        await handler.ListProducts(other, NO_CONTEXT)
    assert caught.value.reason is Reason.PAGE_TOKEN_INVALID


@pytest.mark.usefixtures("caller")
async def test_a_product_on_the_wire_imports_back_unchanged(handler: OrderHandler) -> None:
    read = await handler.GetProduct(order_service_pb2.GetProductRequest(name="products/PB-12-K"), NO_CONTEXT)
    assert (read.price.currency_code, read.price.units, read.price.nanos) == ("SGD", 0, 580_000_000)
    fresh = order_pb2.Product()
    fresh.CopyFrom(read)
    fresh.sku = f"N-{uuid.uuid4().hex[:8]}"
    free = order_pb2.Product()
    free.CopyFrom(fresh)
    free.sku = "FREE"
    free.price.nanos = 0

    async def stream() -> AsyncIterator[order_service_pb2.ImportProductsRequest]:
        for line, item in enumerate((read, fresh, free), start=1):
            yield order_service_pb2.ImportProductsRequest(product=item, line=line)

    answer = await handler.ImportProducts(stream(), NO_CONTEXT)
    assert (answer.created, answer.updated, answer.unchanged) == (1, 0, 1)
    assert [(error.line, error.sku, error.message, error.reason) for error in answer.errors] == [
        (3, "FREE", "price: must be above zero", "PRODUCT_ROW_INVALID")
    ]


@pytest.mark.usefixtures("caller")
async def test_search_over_the_wire(handler: OrderHandler) -> None:
    request = order_service_pb2.SearchProductsRequest(query="12寸披萨盒", page_size=2)
    answer = await handler.SearchProducts(request, NO_CONTEXT)
    assert {match.product.sku for match in answer.results} == {"PB-12-K", "PB-12-P"}
    assert 0.5 < answer.results[0].score <= 1
