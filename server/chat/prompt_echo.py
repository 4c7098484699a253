"""Whether an answer recites its instructions: word for word, in pieces, in other words, or encoded."""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass

_WORD = re.compile(r"[^\W\d_]+")
_NOT_LETTERS = re.compile(r"[\W_]+")
# So many three-word pieces of the prompt in a row, or among the last `_WINDOW` words, are no chance.
_IN_A_ROW, _IN_WINDOW, _WINDOW = 6, 12, 40
# So many of its rarer words among the last `_WINDOW` words are the same thing in other words.
_TELLING_LETTERS, _TELLING_WORDS = 6, 10
_ANNOUNCED = re.compile(
    r"\b(?:(?:my|these are (?:the|my)|here (?:is|are) (?:the|my)|the) (?:\w+ )?"
    r"(?:system prompt|hidden (?:prompt|instructions))"
    r"|(?:my|here (?:is|are) (?:the|my)) (?:\w+ )?(?:prompt|instructions) (?:is|are|say|reads?|as follows)"
    r"|i (?:was|am|have been) (?:told|instructed) (?:to|not to|never to))\b"
    r"|我的(?:系统)?(?:指令|提示词|提示)(?:是|如下)|以下是(?:我的)?(?:系统提示|提示词|指令)|我被(?:要求|指示)"
    r"|\b(?:arahan|prom) (?:sistem )?saya (?:ialah|adalah|seperti)\b|\bsaya (?:telah )?diarahkan (?:untuk|supaya)\b",
    re.IGNORECASE,
)
_CODED = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found at the end of an answer: `leaked` says that it recites; else text from `open_at` on may be the
    beginning of a recital."""

    leaked: bool
    open_at: int


class PromptEcho:
    """Compares text with `secret`, the part of a prompt that an answer has no reason to say; `everyday` are words of it
    that answers need, `marks` words that only the prompt knows."""

    def __init__(self, secret: str, everyday: frozenset[str], marks: Iterable[str]) -> None:
        words = [word.casefold() for word in _WORD.findall(secret)]
        self._pieces = set(zip(words, words[1:], words[2:], strict=False))
        self._telling = {word for word in words if len(word) >= _TELLING_LETTERS} - everyday
        self._marks = tuple(variant for mark in marks for variant in _variants(mark))

    def look(self, text: str) -> Seen:
        """`text` is the end of an answer, told and untold."""
        squeezed = _NOT_LETTERS.sub("", text).casefold()
        if any(mark in squeezed for mark in self._marks) or _ANNOUNCED.search(text) or self._coded(text):
            return Seen(True, 0)
        found = list(_WORD.finditer(text))
        words = [word[0].casefold() for word in found]
        hits = [piece in self._pieces for piece in zip(words, words[1:], words[2:], strict=False)]
        row = _last_row(hits)
        recent = words[-_WINDOW:]
        leaked = (
            _longest_row(hits) >= _IN_A_ROW
            or sum(hits[-_WINDOW:]) >= _IN_WINDOW
            or len(self._telling.intersection(recent)) >= _TELLING_WORDS
        )
        return Seen(leaked, found[len(hits) - row].start() if row else len(text))

    def _coded(self, text: str) -> bool:
        """Whether a long token is words of the prompt in base64, or the text holds them backwards or in rot13."""
        readings = [_unbased(token) for token in _CODED.findall(text)]
        readings += [text[::-1], codecs.encode(text, "rot13")]
        return any(self._recites(reading) for reading in readings if reading)

    def _recites(self, text: str) -> bool:
        words = [word.casefold() for word in _WORD.findall(text)]
        return _longest_row([piece in self._pieces for piece in zip(words, words[1:], words[2:], strict=False)]) >= 2


def _variants(mark: str) -> set[str]:
    plain = _NOT_LETTERS.sub("", mark).casefold()
    coded = {
        _NOT_LETTERS.sub(
            "", base64.b64encode(b"\0" * shift + mark.encode()).decode()[4 if shift else 0 : -4]
        ).casefold()
        for shift in range(3)
    }
    return {plain, plain[::-1], codecs.encode(plain, "rot13"), mark.encode().hex(), *coded}


def _unbased(token: str) -> str:
    padded = token.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4)).decode(errors="ignore")
    except ValueError:
        return ""


def _last_row(hits: list[bool]) -> int:
    row = 0
    for hit in reversed(hits):
        if not hit:
            break
        row += 1
    return row


def _longest_row(hits: list[bool]) -> int:
    longest = row = 0
    for hit in hits:
        row = row + 1 if hit else 0
        longest = max(longest, row)
    return longest
