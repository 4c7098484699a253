"""The readings of a text that may hide another one: what a person sees, and what a model may decode.

The first reading is the text as it is seen: compatibility forms, case, accents, look-alike letters and invisible
characters are folded away. The others are what somebody hides words in: base64, hex, rot13, digits for letters, letters
set apart, the text backwards, invisible tag characters, escapes. Nothing here judges; see server/chat/suspicion.py.
"""

from __future__ import annotations

import base64
import codecs
import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from urllib.parse import unquote

# Characters that are read; a longer text is read at both ends.
LONGEST = 8_192
_MOST_TOKENS, _LONGEST_TOKEN = 8, 4096
_TAGS = range(0xE0000, 0xE0080)
_ALIKE = str.maketrans(
    "аеорсіѕхуԁһјԛԝӏгтмнкв" + "αεορτυικνγ",
    "aeopcisxydhjqwlrtmnkb" + "aeoptuikvy",
)  # Cyrillic and Greek letters that look like Latin ones
_DIGITS = str.maketrans("013457@$", "oieast" + "as")
_LEET_WORD = re.compile(r"(?=\S{0,40}[a-z])(?=\S{0,40}[013457@$])\S{2,40}")
_NUMERIC_WORD = re.compile(r"\b[013457]{2,12}\b")
_BASE64 = re.compile(rf"[A-Za-z0-9+/_-]{{16,{_LONGEST_TOKEN}}}={{0,2}}")
_HEX = re.compile(rf"(?:[0-9a-fA-F]{{2}}[ :]?){{12,{_LONGEST_TOKEN // 2}}}")
_APART = re.compile(r"(?<!\w)(?:\w[ .\-_*|]{1,3}){5,400}\w(?!\w)")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
_BLANKS = re.compile(r"[ \t\r\f\v\u00a0\u3000]+")


def seen(text: str) -> str:
    """The text as a person reads it, lower case and without what is invisible."""
    plain = unicodedata.normalize("NFKD", text)
    kept = "".join(char for char in plain if unicodedata.category(char) not in {"Mn", "Cf", "Cc", "Cs"} or char == "\n")
    return _BLANKS.sub(" ", unicodedata.normalize("NFKC", kept).casefold().translate(_ALIKE))


def cut(text: str) -> str:
    """At most `LONGEST` characters, from both ends: padding hides nothing at either."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}\n{text[-LONGEST // 2 :]}"


def hidden(text: str) -> Iterator[str]:
    """What the text may say in hiding, each reading as `seen` has it."""
    yield from _tagged(text)
    yield from (seen(said) for said in _encoded(text))
    plain = seen(text)
    if any(char.isdigit() or char in "@$" for char in plain):
        yield _NUMERIC_WORD.sub(_spelt, _LEET_WORD.sub(_spelt, plain))
    for run in _APART.findall(plain):
        yield re.sub(r"\W|_", "", run)
    unescaped = _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), html.unescape(unquote(text)))
    if unescaped != text:
        yield seen(unescaped)
    if any("a" <= char <= "z" for char in plain):
        yield codecs.encode(plain, "rot13")
        yield plain[::-1]


def invisible(text: str) -> int:
    """Characters that nobody sees and that stand inside words."""
    return sum(
        1
        for before, char, after in zip(text, text[1:], text[2:], strict=False)
        if unicodedata.category(char) == "Cf" and before.isalnum() and after.isalnum()
    )


def tagged(text: str) -> bool:
    """Whether it holds tag characters, which no keyboard writes."""
    return any(ord(char) in _TAGS for char in text)


def _spelt(word: re.Match[str]) -> str:
    return word[0].translate(_DIGITS)


def _tagged(text: str) -> Iterator[str]:
    letters = [chr(ord(char) - _TAGS.start) for char in text if ord(char) in _TAGS]
    if letters:
        yield seen("".join(letters))


def _encoded(text: str) -> Iterator[str]:
    for token in _BASE64.findall(text)[:_MOST_TOKENS]:
        plain = token.rstrip("=").replace("-", "+").replace("_", "/")
        yield from _decoded(base64.b64decode, plain + "=" * (-len(plain) % 4))
    for token in _HEX.findall(text)[:_MOST_TOKENS]:
        yield from _decoded(bytes.fromhex, re.sub("[ :]", "", token))


def _decoded(decode: Callable[[str], bytes], token: str) -> Iterator[str]:
    try:
        said = decode(token).decode()
    except ValueError:  # no such encoding, or bytes that are no text
        return
    if said.isprintable() or "\n" in said:
        yield said
