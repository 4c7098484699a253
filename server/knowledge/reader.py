"""Files to headed sections: Markdown, plain text and PDF. What comes in is not trusted.

Markup is dropped, words are kept. A table row becomes one line with its column names ("Zone: Sentosa; Day: Saturday"),
so that it can be understood, embedded and quoted on its own. PDF files are read by a child process with bounded memory
and time (pdf.py), because a hostile one can make any parser loop.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from markdown_it import MarkdownIt
from markdown_it.token import Token

from server.errors import AppError, Code, Reason

MAX_BYTES = 3 * 1024 * 1024  # as in ImportDocumentRequest
MAX_CHARACTERS = 1_000_000
MEDIA_TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".txt": "text/plain",
    ".text": "text/plain",
    ".pdf": "application/pdf",
}

_PDF_SECONDS = 30.0
_PDF_STATUS = {3: "it is protected by a password", 4: "it has too many pages", 5: "it holds no text (a scan?)"}
_TOO_MANY_PAGES = 4
_MAX_HEADING = 200
_INVISIBLE = re.compile(r"[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_TEXT_HEADING = re.compile(r"\S.{0,78}[^.,;:!?。，；：！？\s]")


@dataclass(frozen=True, slots=True)
class Section:
    """`path` is the headings above the text, outermost first, without the document's title; empty before the first."""

    path: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read: its title, its media type and its sections in order (at least one)."""

    title: str
    media_type: str
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    """One heading (level 1 to 6) or one paragraph (level 0)."""

    level: int
    text: str


async def read(filename: str, content: bytes) -> Source:
    """The sections of a file. Raises AppError DOCUMENT_TOO_LARGE, or DOCUMENT_UNREADABLE with the reason in words."""
    if len(content) > MAX_BYTES:
        raise _too_large(f"{filename} has {len(content)} bytes; at most {MAX_BYTES} are read")
    suffix = PurePosixPath(filename).suffix.lower()
    media_type = MEDIA_TYPES.get(suffix)
    if media_type is None:
        raise unreadable(filename, f"its type is none of {', '.join(MEDIA_TYPES)}")
    if media_type == "application/pdf":
        blocks = await _pdf(filename, content)
    else:
        text = _decode(filename, content)
        parse = _markdown if media_type == "text/markdown" else _plain
        blocks = await asyncio.to_thread(lambda: list(parse(text)))
    title, sections = await asyncio.to_thread(_sections, blocks)
    if not sections:
        raise unreadable(filename, "it holds no text")
    if sum(len(section.text) for section in sections) > MAX_CHARACTERS:
        raise _too_large(f"{filename} holds more than {MAX_CHARACTERS} characters")
    return Source(title or PurePosixPath(filename).stem, media_type, sections)


def unreadable(filename: str, why: str) -> AppError:
    """INVALID_ARGUMENT, DOCUMENT_UNREADABLE."""
    return AppError(Code.INVALID_ARGUMENT, Reason.DOCUMENT_UNREADABLE, f"{filename} cannot be read: {why}")


def _too_large(message: str) -> AppError:
    return AppError(Code.INVALID_ARGUMENT, Reason.DOCUMENT_TOO_LARGE, message)


def _decode(filename: str, content: bytes) -> str:
    if b"\x00" in content[:4096] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise unreadable(filename, "it is not text")
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as cause:
        raise unreadable(filename, "it is not UTF-8") from cause


def _sections(blocks: Sequence[_Block]) -> tuple[str, tuple[Section, ...]]:
    """The title (the first heading, when nothing but one stands on its level) and the text under each heading path."""
    blocks = [_Block(block.level, clean) for block in blocks if (clean := _clean(block.text))]
    title = ""
    if blocks and blocks[0].level and sum(block.level == blocks[0].level for block in blocks) == 1:
        title, blocks = blocks[0].text[:300], blocks[1:]
    sections: list[Section] = []
    path: list[_Block] = []
    body: list[str] = []
    for block in (*blocks, _Block(1, "")):
        if not block.level:
            body.append(block.text)
            continue
        if body:
            sections.append(Section(tuple(heading.text[:_MAX_HEADING] for heading in path[-3:]), "\n\n".join(body)))
            body = []
        path = [heading for heading in path if heading.level < block.level]
        path.append(block)
    return title, tuple(sections)


def _clean(text: str) -> str:
    lines = (" ".join(line.split()) for line in _INVISIBLE.sub("", text).splitlines())
    return "\n".join(line for line in lines if line)


def _markdown(text: str) -> Iterator[_Block]:
    # html=False: tags in the text stay text, nothing is interpreted.
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(_front_matter_removed(text))
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token.type == "heading_open":
            yield _Block(int(token.tag[1]), _inline(tokens[at + 1]))
            at += 3
        elif token.type in ("table_open", "bullet_list_open", "ordered_list_open"):
            end = _closing(tokens, at)
            inner = tokens[at + 1 : end]
            lines = _table(inner) if token.type == "table_open" else _items(inner)
            yield _Block(0, "\n".join(lines))
            at = end + 1
        else:
            if token.type == "inline":
                yield _Block(0, _inline(token))
            elif token.type in ("fence", "code_block"):
                yield _Block(0, token.content)
            at += 1


def _front_matter_removed(text: str) -> str:
    return re.sub(r"\A---\n.{0,4000}?\n---\n", "", text, count=1, flags=re.DOTALL)


def _closing(tokens: Sequence[Token], at: int) -> int:
    depth = 0
    for end in range(at, len(tokens)):
        depth += tokens[end].nesting
        if depth == 0:
            return end
    raise AssertionError("markdown-it closes what it opens")


def _inline(token: Token) -> str:
    words = []
    for child in token.children or ():
        if child.type in ("softbreak", "hardbreak"):
            words.append("\n" if child.type == "hardbreak" else " ")
        elif child.type == "image":
            words.append(child.content)  # its alternative text
        else:
            words.append(child.content)
    return "".join(words)


def _items(tokens: Sequence[Token]) -> Iterator[str]:
    """One line per list item, nested ones too; the paragraphs of an item are joined."""
    line: list[str] = []
    for token in tokens:
        if token.type == "list_item_open" and line:
            yield "- " + " ".join(line)
            line = []
        elif token.type == "inline":
            line.append(_inline(token))
        elif token.type in ("fence", "code_block"):
            line.append(" ".join(token.content.split()))
    if line:
        yield "- " + " ".join(line)


def _table(tokens: Sequence[Token]) -> Iterator[str]:
    """One line per row: "Zone: Sentosa; Day: Saturday". Empty cells are left out."""
    header: list[str] = []
    row: list[str] = []
    for token in tokens:
        if token.type == "inline":
            row.append(_inline(token).strip())
        elif token.type == "tr_close":
            if not header:
                header = row
            else:
                pairs = ((name, cell) for name, cell in zip(header, row, strict=False) if cell)
                yield "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs)
            row = []


def _plain(text: str) -> Iterator[_Block]:
    """A short line without a full stop that stands alone is a heading; the first one is the title."""
    paragraphs = [part.strip("\n") for part in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n"))]
    filled = [part for part in paragraphs if part.strip()]
    for place, part in enumerate(filled):
        is_last = place == len(filled) - 1
        if not is_last and "\n" not in part and _TEXT_HEADING.fullmatch(part.strip()):
            yield _Block(1 if place == 0 else 2, part.strip())
        else:
            yield _Block(0, part)


async def _pdf(filename: str, content: bytes) -> list[_Block]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server.knowledge.pdf",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_PDF_SECONDS):
            output, _ = await child.communicate(content)
    except TimeoutError as cause:
        raise unreadable(filename, "reading it took too long") from cause
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode == _TOO_MANY_PAGES:
        raise _too_large(f"{filename}: {_PDF_STATUS[_TOO_MANY_PAGES]}")
    if child.returncode:
        raise unreadable(filename, _PDF_STATUS.get(child.returncode, "it is damaged"))
    return [_Block(int(level), str(text)) for level, text in json.loads(output)]
