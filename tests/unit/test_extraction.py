"""Order lines from messages: the conventions, corrections, traps, spans and questions."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from importlib import resources

import pytest

from server.order.catalogue_csv import read_catalogue
from server.order.extraction import Extraction, OrderExtractor, PastLine
from server.order.extraction_questions import Ask

MONDAY = date(2026, 6, 1)


@pytest.fixture(scope="module")
def demo() -> OrderExtractor:
    data = resources.files("server").joinpath("demo_data/products.csv").read_bytes()
    return OrderExtractor([row.product for row in read_catalogue(data)[0]])


def read(extractor: OrderExtractor, text: str, history: tuple[PastLine, ...] = ()) -> Extraction:
    return extractor.extract(text, today=MONDAY, history=history)


def lines(found: Extraction) -> dict[str, str]:
    return {line.sku: f"{line.quantity:f}" for line in found.lines}


def asks(found: Extraction) -> list[Ask]:
    return [question.ask for question in found.questions]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("5 packs of 14 inch plain pizza box", {"PB-14-K": "250"}),  # by the piece: five packs of fifty
        ("2 ctn of 100 12 inch plain boxes", {"PB-12-K": "200"}),
        ("500 pcs 12oz soup bowls", {"SB-12": "10"}),  # by the sleeve of fifty
        ("200 plain 12 inch boxes", {"PB-12-K": "200"}),  # "boxes" is what they are, not how they are packed
        ("10 boxes of chopsticks", {"CT-CS": "10"}),  # a loose unit word is the unit of sale
        ("a dozen 16oz hot cups", {"HC-16": "12"}),
        ("half a dozen chopsticks", {"CT-CS": "6"}),
        ("x20 8oz hot cup", {"HC-08": "20"}),
        ("20x 8oz hot cup", {"HC-08": "20"}),
        ("3k 10 inch printed boxes", {"PB-10-P": "3000"}),
        ("two hundred and fifty plain 14 inch pizza boxes", {"PB-14-K": "250"}),
        ("二十包33厘米双层白餐巾纸", {"NP-33-2": "20"}),
        ("一打小汉堡盒，两箱湿纸巾", {"BB-S": "12", "WW-1": "2"}),
        ("兩百五十個14寸素面披薩盒", {"PB-14-K": "250"}),
        ("dua puluh lima pek penyepit buluh", {"CT-CS": "25"}),
        ("sedozen kotak burger besar dan sekarton tisu basah", {"BB-L": "12", "WW-1": "1"}),
        ("5 sleeves each of 8oz hot cup and 12oz hot cup", {"HC-08": "5", "HC-12": "5"}),
    ],
)
def test_quantities_are_in_the_unit_of_sale(demo: OrderExtractor, text: str, wanted: dict[str, str]) -> None:
    found = read(demo, text)
    assert lines(found) == wanted
    assert not found.questions


@pytest.mark.parametrize(
    ("text", "ask"),
    [
        ("20 boxes of 12 inch", Ask.WHICH_PRODUCT),  # plain or printed
        ("10 sleeves of soup bowls", Ask.WHICH_PRODUCT),  # no size
        ("a few packs of chopsticks", Ask.HOW_MANY),
        ("10 to 12 packs of chopsticks", Ask.HOW_MANY),
        ("half a carton of wet wipes", Ask.HOW_MANY),
        ("120 pcs 12oz soup bowl", Ask.NOT_WHOLE),
        ("2 cartons of cling film 30cm", Ask.NO_SUCH_PACK),
        ("9000 rolls of cling film 30cm", Ask.ABOVE_STOCK),
        ("5 plain 12 inch pizza boxes", Ask.BELOW_MINIMUM),
        ("8 hammers please", Ask.UNKNOWN_PRODUCT),
        ("the usual please", Ask.USUAL),
        ("I want chopsticks", Ask.HOW_MANY),
    ],
)
def test_what_is_unclear_is_one_question_and_the_sure_line_stays(demo: OrderExtractor, text: str, ask: Ask) -> None:
    found = read(demo, text)
    assert (lines(found), asks(found)) == ({}, [ask])
    beside = read(demo, f"3 degreaser, {text}")
    assert (lines(beside), asks(beside)) == ({"DG-5": "3"}, [ask])
    for language in ("en", "zh", "ms"):
        assert "{" not in found.questions[0].sentence(language)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("30 sleeves of small burger box, make that 15", {"BB-S": "15"}),
        ("6 packs wooden fork, 6 packs wooden spoon, no spoons", {"CT-FK": "6"}),
        ("6 forks, 6 spoons, 3 straws, no spoons and straws", {"CT-FK": "6"}),
        ("200 plain 12 inch boxes, change the 12 inch to 14", {"PB-14-K": "200"}),
        ("8 packs of chopsticks instead of 5", {"CT-CS": "8"}),
        ("2 degreaser and 3 dish soap, actually make the degreaser 4", {"DG-5": "4", "DS-5": "3"}),
        ("竹筷10包，木勺5包，不要木勺", {"CT-CS": "10"}),
        ("竹筷10包，改成12包", {"CT-CS": "12"}),
        ("竹筷要10包不是12包", {"CT-CS": "10"}),
        ("10 pek penyepit buluh, tukar jadi 15", {"CT-CS": "15"}),
        ("10 pek garpu kayu, 10 pek sudu kayu, tak nak sudu", {"CT-FK": "10"}),
    ],
)
def test_corrections(demo: OrderExtractor, text: str, wanted: dict[str, str]) -> None:
    assert lines(read(demo, text)) == wanted


def test_what_is_not_wanted_is_named_for_an_earlier_draft(demo: OrderExtractor) -> None:
    assert read(demo, "no chopsticks please").removed == ("CT-CS",)
    assert read(demo, "取消竹筷").removed == ("CT-CS",)


@pytest.mark.parametrize(
    "text",
    [
        "how much are 500 12 inch plain pizza boxes?",
        "5 of the 12 inch plain boxes arrived crushed",
        "where is order #2231? 10 packs chopsticks",
        "my order of 20 sleeves of 8oz hot cups has not come",
        "cancel my order of 10 packs chopsticks",
        "call me at 9123 4567",
        "I'm at Blk 45 #03-12 Singapore 460045",
        "is 100 the minimum for 12 inch plain boxes?",
        "收到的白餐巾纸少了2包",
        "ada kaca dalam 1 pek sudu kayu",
        "2 cups",
        "",
        "🍕" * 50,
        "12" * 3000,
    ],
)
def test_a_message_that_orders_nothing_has_no_lines(demo: OrderExtractor, text: str) -> None:
    assert read(demo, text).lines == ()


@pytest.mark.parametrize(
    "around",
    [
        "{} at $5.20 each",
        "{}, call 9123 4567",
        "{} to Blk 123 #05-12 by 10am",
        "PO 7781: {}",
        "{} 送到第45座，电话91234567",
        "for 12 June: {}",
        "{}, do you deliver on Sundays?",
    ],
)
def test_numbers_that_count_no_goods(demo: OrderExtractor, around: str) -> None:
    found = read(demo, around.format("3 degreaser"))
    assert (lines(found), asks(found)) == ({"DG-5": "3"}, [])


def test_spans_are_code_points_of_the_message_as_it_was_sent(demo: OrderExtractor) -> None:
    text = "😀 ＨＩ，要２０包白餐巾纸。ﬁne, 3 degreaser"
    found = read(demo, text)
    assert [text[line.start : line.end] for line in found.lines] == ["２０包白餐巾纸", "3 degreaser"]


@pytest.mark.parametrize(
    ("said", "when"),
    [
        ("tomorrow", date(2026, 6, 2)),
        ("Tue", date(2026, 6, 2)),
        ("monday", date(2026, 6, 8)),
        ("12 June", date(2026, 6, 12)),
        ("3/5", date(2027, 5, 3)),
        ("明天", date(2026, 6, 2)),
        ("下周三", date(2026, 6, 10)),
        ("6月12号", date(2026, 6, 12)),
        ("esok", date(2026, 6, 2)),
        ("hari khamis", date(2026, 6, 4)),
        ("5hb", date(2026, 6, 5)),
        ("31/4", None),
    ],
)
def test_delivery_dates(demo: OrderExtractor, said: str, when: date | None) -> None:
    found = read(demo, f"3 degreaser, {said}")
    assert found.delivery_date == when
    assert lines(found) == {"DG-5": "3"}


HISTORY = (PastLine("PB-12-K", Decimal(300)), PastLine("NP-33-2", Decimal(10)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("the usual", {"PB-12-K": "300", "NP-33-2": "10"}),
        ("same as last week but no napkins", {"PB-12-K": "300"}),
        ("same as last time plus 2 degreaser", {"PB-12-K": "300", "NP-33-2": "10", "DG-5": "2"}),
        ("the usual but 400 of the 12 inch plain", {"PB-12-K": "400", "NP-33-2": "10"}),
        ("the usual, make the napkins 8", {"PB-12-K": "300", "NP-33-2": "8"}),
        ("老样子", {"PB-12-K": "300", "NP-33-2": "10"}),
        ("macam biasa", {"PB-12-K": "300", "NP-33-2": "10"}),
        ("200 boxes of 12 inch and 5 packs of napkins", {"PB-12-K": "200", "NP-33-2": "5"}),  # decides between equals
    ],
)
def test_history_is_the_usual_and_decides_between_equals(
    demo: OrderExtractor, text: str, wanted: dict[str, str]
) -> None:
    found = read(demo, text, HISTORY)
    assert lines(found) == wanted
    assert not found.questions
    assert all(
        line.confidence < 1 for line in found.lines if line.sku in {"PB-12-K", "NP-33-2"} and "usual" not in text
    )


def test_a_product_of_the_usual_that_is_no_longer_sold_is_asked_about(demo: OrderExtractor) -> None:
    found = read(demo, "the usual", (PastLine("GONE", Decimal(3)), *HISTORY))
    assert (len(found.lines), asks(found)) == (2, [Ask.UNKNOWN_PRODUCT])


def test_a_mended_spelling_is_less_sure_than_a_name(demo: OrderExtractor) -> None:
    mended, exact = read(demo, "chopstiks 8 packs"), read(demo, "chopsticks 8 packs")
    assert lines(mended) == lines(exact)
    assert mended.lines[0].confidence < exact.lines[0].confidence == 1
