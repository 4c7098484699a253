"""Sizes, plurals, typing mistakes and three languages find the same product; nothing found is nothing shown."""

from importlib import resources

import pytest

from server.order.catalogue_csv import read_catalogue
from server.order.product_ranking import Searchable, rank, searchable
from server.order.product_terms import query_terms, sizes


@pytest.fixture(scope="module")
def demo() -> list[Searchable]:
    data = resources.files("server").joinpath("demo_data/products.csv").read_bytes()
    return [searchable(row.product) for row in read_catalogue(data)[0]]


@pytest.mark.parametrize(
    "text",
    [
        "12 inch",
        '12"',
        "12\u2033",
        "12''",
        "12in",
        "12-inch",
        "12寸",
        "12吋",
        "12 英寸",
        "12 inci",
        "十二寸",
        "twelve inch",
    ],
)
def test_one_size_has_one_spelling(text: str) -> None:
    assert sizes(text) == ["12in"]


def test_litres_are_millilitres_and_stock_is_no_size() -> None:
    assert sizes("1 L or 1.5 litre or 750ml, 500 毫升") == ["1000ml", "1500ml", "750ml", "500ml"]
    assert sizes("20 in stock, 10 in the van") == []
    assert query_terms("how much is it?") == []


@pytest.mark.parametrize(
    ("query", "skus"),
    [
        ("how much is the 12 inch box", {"PB-12-K", "PB-12-P"}),
        ("12寸披萨盒多少钱", {"PB-12-K", "PB-12-P"}),
        ("berapa harga kotak piza 12 inci", {"PB-12-K", "PB-12-P"}),
        ("pb-12-k", {"PB-12-K"}),
        ("12 inch printed box", {"PB-12-P"}),
        ("do you sell chopsticks?", {"CT-CS"}),
        ("你们卖筷子吗", {"CT-CS"}),
        ("chopstiks", {"CT-CS"}),
        ("cling wrap 30 cm", {"CF-30"}),
        ("price of napkns", {"NP-33-2", "NP-33-K", "NP-D"}),
    ],
)
def test_the_right_product_comes_first(demo: list[Searchable], query: str, skus: set[str]) -> None:
    found = rank(query, demo, 10)
    assert {match.product.sku for match in found[: len(skus)]} == skus
    assert found[0].score >= 0.55


def test_another_size_scores_low(demo: list[Searchable]) -> None:
    assert rank("11 inch pizza box", demo, 1)[0].score < 0.5
    assert all(match.score < 0.5 for match in rank("750 ml container", demo, 5))


@pytest.mark.parametrize("query", ["", "?!", "多少钱", "xylophone", "it is what it is"])
def test_nothing_is_found_for_nothing(demo: list[Searchable], query: str) -> None:
    assert rank(query, demo, 5) == []
