"""Words that the catalogue writes as one and customers as two (dust pan), or the other way round (dot4)."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import pairwise
from typing import Protocol

from server.order.extraction_text import Kind, Token, stem

# Shorter halves meet by accident: "a part" is no "apart".
_SHORTEST_HALF = 3
_LETTERED = re.compile(r"(\d+)[ ]?([smlgw])(?![a-z])")


def splits(pairs: Iterable[tuple[str, str]], holders: Container[str]) -> dict[str, tuple[str, str]]:
    """How a customer may join two words of a name: "choppingboard" is ("chopping", "board")."""
    return {
        one + two: (one, two)
        for one, two in sorted(pairs)
        if _is_half(one) and (_is_half(two) or two.isdigit()) and one + two not in holders
    }


class Names(Protocol):
    """What is asked of the catalogue: its terms, which stand side by side in names, and how they may be joined."""

    @property
    def holders(self) -> Mapping[str, object]: ...
    @property
    def pairs(self) -> AbstractSet[tuple[str, str]]: ...
    @property
    def splits(self) -> Mapping[str, tuple[str, str]]: ...


def recut(text: str, tokens: Sequence[Token], names: Names) -> list[Token]:
    """The tokens of a folded text with compounds cut as the catalogue cuts them."""
    holders, pairs, split = names.holders, names.pairs, names.splits
    tokens = list(_lettered(text, tokens, names))
    cut: list[Token] = []
    for place, token in enumerate(tokens):
        before = cut[-1] if cut else None
        if before is not None and place + 1 < len(tokens) and _is_hyphen(before, token, tokens[place + 1]):
            continue
        if token.kind is not Kind.WORD:
            cut.append(token)
        elif token.text in split and token.text not in holders:
            one, two = split[token.text]
            cut += [
                replace(token, text=one),
                replace(token, text=two, kind=Kind.NUMBER if two.isdigit() else Kind.WORD),
            ]
        elif before is not None and before.kind is Kind.WORD and _is_one(before.text, token.text, holders, pairs):
            cut[-1] = replace(before, text=before.text + token.text, end=token.end)
        else:
            cut.append(token)
    return cut


def neighbours(tokens: Sequence[Token], place: int) -> set[tuple[str, str]]:
    """The token with the one before it and with the one behind it."""
    return {(one.text, other.text) for one, other in pairwise(tokens[max(0, place - 1) : place + 2])}


def _lettered(text: str, tokens: Sequence[Token], names: Names) -> Iterator[Token]:
    """ "10 L folders" are ten L folders where the catalogue has those, and no ten litres of anything."""
    for place, token in enumerate(tokens):
        if token.kind is not Kind.SIZE or token.text in names.holders:
            yield token
            continue
        said = _LETTERED.match(text, token.at)
        if said is None:
            yield token
            continue
        number = replace(token, text=said[1], kind=Kind.NUMBER)
        letter = replace(token, text=stem(said[2]), kind=Kind.WORD)
        around = [*tokens[max(0, place - 1) : place], letter, *tokens[place + 1 : place + 2]]
        if neighbours(around, around.index(letter)) & names.pairs:
            yield number
            yield letter
        else:
            yield token


def _is_hyphen(before: Token, token: Token, after: Token) -> bool:
    """Whether the token joins two words ("post-it"): names are compared without."""
    words = before.kind is Kind.WORD and after.kind is Kind.WORD
    return token.text == "-" and words and before.end == token.start and token.end == after.start


def _is_one(one: str, two: str, holders: Container[str], pairs: Container[tuple[str, str]]) -> bool:
    return one + two in holders and (one, two) not in pairs and _is_half(one) and _is_half(two)


def _is_half(word: str) -> bool:
    return len(word) >= _SHORTEST_HALF and word.isascii() and word.isalpha()
