"""Customer messages in plain English, word by word, for an embedding model that was trained on English alone.

Not a translation to be read: "明天送货吗" becomes "tomorrow delivery ?", which lies where
its English sister lies. Small words and short forms come from glosses.toml, goods and terms from the search's concepts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources

from server.chat.assistant import Language
from server.chat.words import fold
from server.knowledge.lexical import CONCEPTS
from server.knowledge.stemming import malay_roots

_TOKEN = re.compile(r"(?P<han>[\u3400-\u9fff]+)|(?P<word>[a-z]+)|(?P<other>\d+(?:[.,]\d+)*[a-z]*|[?!.,])")
_LONGEST_HAN, _LONGEST_WORDS = 8, 4


class Glossary:
    """The tables of both files, ready for look-ups. Immutable; one per process."""

    def __init__(self) -> None:
        source = resources.files("server.chat").joinpath("glosses.toml").read_text(encoding="utf-8")
        tables = tomllib.loads(source)
        chinese, malay = _concepts()
        self._han = {**chinese, **{fold(key): english for key, english in tables["zh"].items()}}
        self._malay = {**malay, **tables["en"], **tables["ms"]}
        self._english: Mapping[str, str] = tables["en"]
        self._final: Mapping[str, str] = tables["ms_final"]

    def english(self, text: str, language: Language) -> str:
        """`text` in English words, in its order; a word that no table has stays as it is."""
        said = self._said(text, malay=language is Language.MS)
        return " ".join(filter(None, said))

    def _said(self, text: str, *, malay: bool) -> Iterator[str]:
        latin: list[str] = []
        for token in _TOKEN.finditer(fold(text)):
            if token.lastgroup == "word":
                latin.append(token.group())
                continue
            yield from self._clause(latin, malay=malay)
            latin = []
            yield from self._run(token.group()) if token.lastgroup == "han" else (token.group(),)
        yield from self._clause(latin, malay=malay)

    def _clause(self, words: list[str], *, malay: bool) -> Iterator[str]:
        if not malay:
            yield from _longest(words, self._english)
            return
        final = self._final.get(words[-1]) if words else None
        yield from _longest(words[:-1] if final else words, self._malay)
        if final:
            yield final

    def _run(self, run: str) -> Iterator[str]:
        """A run of Chinese, longest match first; what no word explains is left out, the model could not read it."""
        at = 0
        while at < len(run):
            for length in range(min(_LONGEST_HAN, len(run) - at), 0, -1):
                english = self._han.get(run[at : at + length])
                if english is not None:
                    yield english
                    break
            at += length


def _longest(words: list[str], table: Mapping[str, str]) -> Iterator[str]:
    at = 0
    while at < len(words):
        for length in range(min(_LONGEST_WORDS, len(words) - at), 0, -1):
            english = table.get(" ".join(words[at : at + length]))
            if english is not None:
                yield english
                break
        else:
            yield _by_root(words[at], table)
        at += length


def _by_root(word: str, table: Mapping[str, str]) -> str:
    return next((table[root] for root in malay_roots(word) if root in table), word)


def _concepts() -> tuple[dict[str, str], dict[str, str]]:
    """Chinese and Malay phrases of the search's vocabulary with the first English one of their concept."""
    chinese: dict[str, str] = {}
    malay: dict[str, str] = {}
    for english, han, spoken in tomllib.loads(CONCEPTS.read_text(encoding="utf-8"))["concepts"].values():
        said = english.split(";")[0].strip()
        for phrases, table in ((han, chinese), (spoken, malay)):
            for phrase in phrases.split(";"):
                table.setdefault(fold(phrase.strip()), said)
    return chinese, malay
