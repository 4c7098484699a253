"""The catalogue as mentions are matched against it: built once per revision, asked a few times per message.

A mention is the set of catalogue terms that a customer used. A product is sure when one of its names is exactly that
set, or when it alone has all of them; products that fit equally are a question.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

from server.order.extraction_compounds import splits
from server.order.extraction_text import Kind, Token, fold, tokens
from server.order.product import CatalogueProduct
from server.spelling import one_slip, without_one

# Words of names that tell nothing apart.
_LINKS = frozenset(
    "a an and the of for with in x on to by or per pcs pc piece dan dengan untuk yang dari 的 和 与".split()  # noqa: SIM905
)
# What stands behind these words in a name is not the thing itself: "lid for soup bowl", 餐盒连盖.
_BELONGS = frozenset(("for", "with", "untuk", "dengan", "连", "配", "带"))
# Words of names that say which, and are never what the thing is called.
_QUALITIES = frozenset(
    """small medium large big extra regular mini jumbo plain printed clear black white red blue green yellow silver
    brown kraft wrapped unwrapped single double assorted zinc free disposable compostable standard premium fine
    pink purple orange grey gray gold beige navy transparent
    coarse warm daylight kecil besar sederhana putih hitam merah biru hijau kuning jernih kosong bercetak
    号 色""".split()  # noqa: SIM905
)
# Weights of terms: a size decides more than a word, a character less.
_SIZE, _WORD, _CHARACTER = 2.0, 1.0, 0.5
_BELONGING = 0.5
# A mention without the noun of the product's name is a little less its own (汤碗 is no 汤碗盖).
_NO_HEAD = 0.1
_ENOUGH = 0.75
_SOFT_BONUS = 0.1
_EQUAL = 0.04
_SHORTEST_MENDED = 4
# Measures in which people say how much they want of what is sold by weight or volume.
WEIGHED = frozenset(("g", "ml"))
_UNIT_OF_SIZE = re.compile(r"[a-z]+$")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A product with its words cut: what a hit on each term is worth, its names as term sets, the nouns of its names,
    and its sizes by measure."""

    product: CatalogueProduct
    strength: Mapping[str, float]
    names: tuple[frozenset[str], ...]
    words: tuple[str, ...]
    heads: frozenset[str]
    measures: frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    """The products that fit a mention best, all equally; `score` is in (0, 1]. `exact`: by a whole name; `chosen`: out
    of several, by what else is known."""

    products: tuple[CatalogueProduct, ...]
    score: float
    exact: bool = False
    chosen: bool = False


NOTHING = Found((), 0.0)


@dataclass(slots=True)
class CatalogueIndex:
    """Terms, misspellings, character pairs and products; frozen after `build`."""

    entries: list[_Entry] = field(default_factory=list)
    holders: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    heads: set[str] = field(default_factory=set)
    skus: dict[str, int] = field(default_factory=dict)
    plain_skus: dict[str, int] = field(default_factory=dict)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    slips: dict[str, str] = field(default_factory=dict)
    splits: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def build(cls, products: Iterable[CatalogueProduct]) -> CatalogueIndex:
        """Index the active products. The order in which they come makes no difference."""
        index = cls()
        for product in sorted(products, key=lambda product: product.sku):
            if product.active:
                index._add(product)
        words = sorted(term for term in index.holders if len(term) > _SHORTEST_MENDED and term.isalpha())
        index.slips = {key: word for word in reversed(words) if word.isascii() for key in without_one(word)}
        index.splits = splits(index.pairs, index.holders)
        return index

    def _add(self, product: CatalogueProduct) -> None:
        place = len(self.entries)
        strength: dict[str, float] = {}
        names, heads = [], set()
        words = tuple(term for term, _ in _name_terms(tokens(fold(product.name))))
        word = product.sku if product.sku.isalpha() else ""
        for text in filter(None, (product.name, product.name_zh, product.name_ms, word, *product.aliases)):
            cut = tokens(fold(text))
            name = list(_name_terms(cut))
            names.append(frozenset(term for term, _ in name))
            for term, worth in name:
                strength[term] = max(worth, strength.get(term, 0.0))
            heads |= _heads(cut, malay=text == product.name_ms)
            self._pair(cut)
        measures = frozenset(_measure(term) for term in strength if _measure(term))
        self.heads |= heads
        self.entries.append(_Entry(product, strength, tuple(names), words, frozenset(heads), measures))
        self.skus[product.sku.casefold()] = place
        self.plain_skus[_plain(product.sku)] = -1 if _plain(product.sku) in self.plain_skus else place
        for term in strength:
            self.holders[term].append(place)

    def _pair(self, cut: Sequence[Token]) -> None:
        kept = [token.text for token in cut if token.kind not in {Kind.MARK, Kind.TIMES} and token.text != "x"]
        self.pairs.update(pairwise(kept))

    def by_sku(self, sku: str) -> CatalogueProduct | None:
        """The product of a SKU in any case."""
        place = self.skus.get(sku.casefold())
        return None if place is None else self.entries[place].product

    def nearly_sku(self, code: str) -> CatalogueProduct | None:
        """The product of a SKU whose hyphens stand elsewhere (CL-1010 for CL1010)."""
        place = self.plain_skus.get(_plain(code), -1)
        return None if place < 0 else self.entries[place].product

    def with_prefix(self, code: str) -> tuple[CatalogueProduct, ...]:
        """The products whose SKU begins with a code that is none itself."""
        return tuple(self.entries[place].product for sku, place in self.skus.items() if sku.startswith(f"{code}-"))

    def term(self, word: str) -> tuple[str, float]:
        """The catalogue's term for a Latin word and how surely it is meant; ("", 0) when there is none."""
        if word in self.holders:
            return word, 1.0
        if len(word) < _SHORTEST_MENDED or not word.isascii():
            return "", 0.0
        for key in without_one(word):
            known = self.slips.get(key)
            if known is not None and known[0] == word[0] and one_slip(word, known):
                return known, 0.85
        return "", 0.0

    def named(self, product: CatalogueProduct, term: str) -> bool:
        """Whether `term` is the noun of the product's names ("box" of a pizza box)."""
        return term in self.entries[self.skus[product.sku.casefold()]].heads

    def alike(self, one: CatalogueProduct, other: CatalogueProduct) -> bool:
        """Whether two products are called by the same noun."""
        heads = (self.entries[self.skus[product.sku.casefold()]].heads for product in (one, other))
        return not next(heads).isdisjoint(next(heads))

    def size_of(self, product: CatalogueProduct, measure: str) -> Decimal | None:
        """The product's one size in a measure ("g"); None when it has none or several."""
        terms = self.entries[self.skus[product.sku.casefold()]].strength
        sizes = {amount_of(term) for term in terms if _measure(term) == measure}
        return sizes.pop() if len(sizes) == 1 else None

    def shared(self, product: CatalogueProduct, terms: Iterable[str]) -> list[str]:
        """Those of `terms` that are in the product's names."""
        strength = self.entries[self.skus[product.sku.casefold()]].strength
        return [term for term in terms if term in strength]

    def is_head(self, term: str) -> bool:
        """Whether any product is called so."""
        return term in self.heads

    def find(self, terms: Sequence[str], soft: Sequence[str] = (), among: Iterable[str] | None = None) -> Found:
        """The products that fit all of `terms` best. `soft` terms only break ties (a unit word that may be a noun).
        `among` limits the search to these SKUs."""
        wanted = frozenset(terms)
        if not wanted:
            return NOTHING
        allowed = None if among is None else {self.skus[sku.casefold()] for sku in among if sku.casefold() in self.skus}
        total = sum(map(_weight, wanted))
        scored: list[tuple[float, float, bool, int]] = []
        nouns = wanted & self.heads
        hints = frozenset(soft)
        for place in sorted({place for term in self._telling(wanted, total) for place in self.holders.get(term, ())}):
            if allowed is None or place in allowed:
                score, penalty, exact = _score(self.entries[place], wanted, hints, total)
                if score < 1 and nouns - self.entries[place].strength.keys():
                    continue  # it is called by another thing's name: 牛皮纸袋 is no 牛皮餐巾纸
                scored.append((score, penalty, exact, place))
        return self._best(scored)

    def _telling(self, wanted: frozenset[str], total: float) -> list[str]:
        """The rarest of the terms, so many that no product without any of them can fit well enough."""
        left = total
        telling: list[str] = []
        for term in sorted(wanted, key=lambda term: (len(self.holders.get(term, ())), term)):
            if left < (_ENOUGH - _SOFT_BONUS) * total:
                break
            telling.append(term)
            left -= _weight(term)
        return telling

    def _best(self, scored: Sequence[tuple[float, float, bool, int]]) -> Found:
        if not scored:
            return NOTHING
        exact = [place for _, _, is_exact, place in scored if is_exact]
        if exact:
            return Found(tuple(self.entries[place].product for place in exact), 1.0, exact=True)
        best = max(score for score, _, _, _ in scored)
        if best < _ENOUGH:
            return NOTHING
        equal = [place for score, _, _, place in scored if score >= best - _EQUAL]
        # "coolant" is the pink one too, although it is called so by its last word.
        like = self.entries[equal[0]] if len(equal) == 1 else None
        equal += [
            place
            for score, penalty, _, place in scored
            if like and score < best - _EQUAL <= score + penalty and _differ_by_one(self.entries[place], like)
        ]
        return Found(tuple(self.entries[place].product for place in equal), round(min(best, 1.0), 4))

    def closest(self, products: Sequence[CatalogueProduct], terms: Iterable[str]) -> tuple[CatalogueProduct, ...]:
        """Of `products` those that have most of `terms`."""
        wanted = frozenset(terms)
        shares = [
            sum(_weight(term) for term in wanted if term in self.entries[self.skus[product.sku.casefold()]].strength)
            for product in products
        ]
        best = max(shares, default=0.0)
        return tuple(product for product, share in zip(products, shares, strict=True) if share == best and best > 0)

    def resized(self, terms: Sequence[str], said: Sequence[str]) -> list[str]:
        """`terms` of an earlier mention with what was `said` now in place of what it contradicts."""
        measures = {_measure(term) for term in said if _measure(term)}
        kept = [term for term in terms if _measure(term) not in measures or not _measure(term)]
        return [*kept, *(term for term in said if term not in kept)]


def _plain(sku: str) -> str:
    return "".join(character for character in sku.casefold() if character.isalnum())


def amount_of(size: str) -> Decimal:
    """The number of a size ("250" of "250g")."""
    return Decimal(_UNIT_OF_SIZE.sub("", size))


def measure_of(terms: Iterable[str]) -> str:
    """The measure of the first size among the terms ("in"), or ""."""
    return next((measure for term in terms if (measure := _measure(term))), "")


def _score(entry: _Entry, wanted: frozenset[str], soft: frozenset[str], total: float) -> tuple[float, float, bool]:
    """How well a product fits, what of that was taken away for the missing noun, and whether by a whole name."""
    for term in wanted - entry.strength.keys():
        if _measure(term) in entry.measures or term[0].isdigit():
            return 0.0, 0.0, False
    exact = wanted in entry.names or (bool(soft) and wanted | soft in entry.names)
    score = sum(_weight(term) * entry.strength.get(term, 0.0) for term in wanted) / total
    penalty = 0.0 if wanted & entry.heads or soft & entry.heads else _NO_HEAD
    score += _SOFT_BONUS if soft & entry.heads else 0.0
    return score - penalty, penalty, exact


def _differ_by_one(one: _Entry, other: _Entry) -> bool:
    """Whether the names of two products differ in one word and no more."""
    if len(one.words) != len(other.words):
        return False
    return sum(mine != its for mine, its in zip(one.words, other.words, strict=True)) == 1


def _weight(term: str) -> float:
    if "\u3400" <= term[0] <= "\u9fff":
        return _CHARACTER
    return _SIZE if term[0].isdigit() else _WORD


def _measure(term: str) -> str:
    if not term[0].isdigit():
        return ""
    unit = _UNIT_OF_SIZE.search(term)
    return unit.group() if unit else ""


def _name_terms(cut: Sequence[Token]) -> Iterator[tuple[str, float]]:
    """The terms of one name and what each is worth; a size belongs to the thing wherever it stands."""
    worth = 1.0
    for token in cut:
        if token.text in _BELONGS:
            worth = _BELONGING
        if token.kind in {Kind.MARK, Kind.TIMES} or token.text in _LINKS or token.text in _BELONGS:
            continue
        yield token.text, 1.0 if token.kind is Kind.SIZE else worth


def _heads(cut: Sequence[Token], *, malay: bool) -> set[str]:
    """The noun of one name: the first word in Malay, the last in English before what belongs to it, and the last
    character of the first Chinese run."""
    words: list[str] = []
    end = 0
    for token in cut:
        if token.text in _BELONGS or (words and token.kind is Kind.HAN and token.at > end):
            break
        end = token.at + 1
        if token.kind is Kind.HAN or (token.kind is Kind.WORD and len(token.text) > 1 and token.text.isalpha()):
            words.append(token.text)
        elif words and (token.text == "(" or (token.kind is Kind.SIZE and not malay)):
            break
    nouns = [word for word in words if word not in _QUALITIES] or words
    return {nouns[0] if malay else nouns[-1]} if nouns else set()
