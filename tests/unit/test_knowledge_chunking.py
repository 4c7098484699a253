"""Chunks lose no word and no order, and stay within their bound."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from server.knowledge.chunking import Chunk, chunk, sentences, split, width
from server.knowledge.reader import Section

WORDS = st.sampled_from(
    ["box", "delivery", "送货时间", "。", "，", ".", "!", "\n", "\n\n", " ", "SGD 18", "x" * 70, "披萨盒" * 40]
)
TEXTS = st.lists(WORDS, max_size=120).map(" ".join)


def solid(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, limit=st.integers(20, 300))
def test_nothing_is_lost_and_every_piece_fits(text: str, limit: int) -> None:
    pieces = split(text, limit)
    assert solid("".join(pieces)) == solid(text)
    assert all(0 < width(piece) <= limit for piece in pieces)
    assert all(piece == piece.strip() for piece in pieces)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4))
def test_chunks_follow_the_sections(texts: list[str]) -> None:
    chunks = chunk([Section((f"h{place}", "sub"), text) for place, text in enumerate(texts)], 200)
    assert [piece.ordinal for piece in chunks] == list(range(len(chunks)))
    for place, text in enumerate(texts):
        mine = [piece.text for piece in chunks if piece.heading == f"h{place} > sub"]
        assert solid("".join(mine)) == solid(text)


def test_a_section_that_fits_stays_whole() -> None:
    table = "Zone: Sentosa; Day: Saturday\nZone: City; Day: Monday"
    assert chunk([Section(("Delivery", "Zones"), table)]) == [Chunk(0, "Delivery > Zones", table)]


def test_a_long_table_is_cut_between_rows() -> None:
    rows = [f"Zone: number {n}; Day: Saturday; Charge: SGD {n}" for n in range(60)]
    pieces = split("\n".join(rows), 400)
    assert len(pieces) > 3
    assert [row for piece in pieces for row in piece.splitlines()] == rows


def test_chinese_is_cut_between_sentences() -> None:
    text = "圣淘沙星期六送货。运费十八元！可以自取吗？可以。" * 20
    pieces = split(text, 200)
    assert len(pieces) > 5
    assert all(piece[-1] in "。！？" for piece in pieces)


def test_sentences_of_both_scripts() -> None:
    assert sentences("We deliver on Monday. It costs SGD 1.50, free above 150.\n圣淘沙加收18元。裕廊岛35元。") == [
        "We deliver on Monday.",
        "It costs SGD 1.50, free above 150.",
        "圣淘沙加收18元。",
        "裕廊岛35元。",
    ]
