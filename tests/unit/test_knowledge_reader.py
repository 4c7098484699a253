"""Files to sections: what each format keeps, and what hostile files get."""

from __future__ import annotations

import io

import pytest
from pypdf import PdfWriter

from server.errors import AppError, Reason
from server.knowledge import reader
from server.knowledge.evaluation import load_documents
from server.knowledge.reader import Section, read

MARKDOWN = """---
author: someone
---
# Delivery

Intro with **bold**, a [link](https://example.com) and `code`.

## Zones

| Zone | Day | Charge |
|---|---|---|
| Sentosa | Saturday | SGD 18 |
| City | Monday | |

### Times

- early
- late
  - very late

<script>alert(1)</script>
"""


async def refused(filename: str, content: bytes) -> Reason:
    with pytest.raises(AppError) as caught:
        await read(filename, content)
    return caught.value.reason


async def test_markdown_keeps_words_and_drops_markup() -> None:
    source = await read("delivery.md", MARKDOWN.encode())
    assert source.title == "Delivery"
    assert source.media_type == "text/markdown"
    assert source.sections == (
        Section((), "Intro with bold, a link and code."),
        Section(("Zones",), "Zone: Sentosa; Day: Saturday; Charge: SGD 18\nZone: City; Day: Monday"),
        Section(("Zones", "Times"), "- early\n- late\n- very late\n\n<script>alert(1)</script>"),
    )


async def test_without_a_single_top_heading_the_file_name_is_the_title() -> None:
    source = await read("faq.md", b"# One\n\nfirst\n\n# Two\n\nsecond\n")
    assert source.title == "faq"
    assert [section.path for section in source.sections] == [("One",), ("Two",)]


async def test_plain_text_finds_headings_that_stand_alone() -> None:
    source = await read("a.txt", b"OPENING HOURS\r\n\r\nWeekdays\r\n\r\nMonday to Friday, 9 to 5.\r\nNot Sunday.")
    assert source.title == "OPENING HOURS"
    assert source.sections == (Section(("Weekdays",), "Monday to Friday, 9 to 5.\nNot Sunday."),)


async def test_a_pdf_has_headings_by_size_of_type() -> None:
    content = dict(load_documents())["food-contact-statements.pdf"]
    source = await read("food-contact-statements.pdf", content)
    assert source.title == "Food contact statements"
    assert [section.path for section in source.sections][1] == ("Declarations of compliance",)
    assert "sent within 2 working days" in source.sections[1].text


async def test_invisible_and_direction_characters_are_dropped() -> None:
    source = await read("a.md", "pay\u200bment \u202ereversed\u202c\x07".encode())
    assert source.sections == (Section((), "payment reversed"),)


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        ("a.docx", b"PK\x03\x04"),
        ("a.md", b"\xff\xfa\x80\x81"),
        ("a.txt", b"\x00\x01\x02binary"),
        ("a.md", b" \n \n"),
        ("a.pdf", b"not a pdf"),
        ("a.pdf", b"%PDF-1.7\n" + b"\x00" * 1000),
        ("a.pdf", b"%PDF-1.7\ntrailer<</Root 1 0 R>>\nstartxref\n0\n%%EOF"),
    ],
)
async def test_what_cannot_be_read_is_refused(filename: str, content: bytes) -> None:
    assert await refused(filename, content) is Reason.DOCUMENT_UNREADABLE


async def test_a_pdf_with_a_password_and_one_without_text_are_refused() -> None:
    for password in ("secret", ""):
        writer = PdfWriter()
        writer.add_blank_page(100, 100)
        if password:
            writer.encrypt(password, algorithm="RC4-128")
        output = io.BytesIO()
        writer.write(output)
        assert await refused("a.pdf", output.getvalue()) is Reason.DOCUMENT_UNREADABLE


async def test_a_pdf_with_too_many_pages_is_too_large() -> None:
    writer = PdfWriter()
    for _ in range(301):
        writer.add_blank_page(100, 100)
    output = io.BytesIO()
    writer.write(output)
    assert await refused("a.pdf", output.getvalue()) is Reason.DOCUMENT_TOO_LARGE


async def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await refused("a.md", b"x" * (reader.MAX_BYTES + 1)) is Reason.DOCUMENT_TOO_LARGE
    monkeypatch.setattr(reader, "MAX_CHARACTERS", 10)
    assert await refused("a.md", b"more than ten characters") is Reason.DOCUMENT_TOO_LARGE


async def test_a_parser_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_PDF_SECONDS", 0.0)
    assert await refused("a.pdf", dict(load_documents())["food-contact-statements.pdf"]) is Reason.DOCUMENT_UNREADABLE


async def test_deep_nesting_does_not_break_the_reader() -> None:
    source = await read("a.md", ("> " * 5000 + "deep\n\n" + "[" * 5000 + "x").encode())
    assert "x" in source.sections[0].text
