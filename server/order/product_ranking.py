"""How well products fit what a customer wrote, by words alone; the same in the server and for a file without one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from server.order.product import CatalogueProduct
from server.order.product_terms import han, query_terms, terms

_SIZE = re.compile(r"\d+(?:\.\d+)?(in|oz|ml|cm|mm|gsm)")
_SIZE_WEIGHT = 2.0
# A word that no candidate has may be a product that is not sold, or mere talk: it counts, but less.
_UNKNOWN_WEIGHT = 0.6
_WRONG_SIZE = 0.4
_SIMILAR = 0.8
# How sure a word is that was found by its spelling or by one of its two characters, and one that names the category.
_TYPO, _CHARACTER, _CATEGORY = 0.85, 0.8, 0.5
_NAME_SHARE = 0.15
_WORTH_SHOWING = 0.05


@dataclass(frozen=True, slots=True)
class Match:
    """A product and how well it fits, in (0, 1]: 1 is an exact SKU, name or alias."""

    product: CatalogueProduct
    score: float


@dataclass(frozen=True, slots=True)
class Searchable:
    """A product with its words cut once. `strength` says per term how much a hit is worth; `names` are the terms of
    the SKU and of each name and alias."""

    product: CatalogueProduct
    strength: Mapping[str, float]
    names: tuple[frozenset[str], ...]


def searchable(product: CatalogueProduct) -> Searchable:
    """Cut the product's words. About 0.1 ms, so whoever ranks the same products often keeps the result."""
    texts = [text for text in (product.sku, product.name, product.name_zh, product.name_ms, *product.aliases) if text]
    names = tuple(frozenset(found) for found in map(terms, texts) if found)
    strength = dict.fromkeys(terms(product.category), _CATEGORY)
    strength |= {char: _CHARACTER for text in texts for char in han(text)}
    strength |= {term: 1.0 for name in names for term in name}
    return Searchable(product, strength, names)


def rank(query: str, products: Iterable[Searchable], limit: int) -> list[Match]:
    """The products that fit `query`, best first; ties by SKU."""
    asked = query_terms(query)
    if not asked:
        return []
    candidates = list(products)
    known = Counter(term for candidate in candidates for term in candidate.strength)
    meant = [(term, *_closest(term, known)) for term in asked]
    matches = [Match(candidate.product, _score(asked, meant, candidate)) for candidate in candidates]
    found = [match for match in matches if match.score > _WORTH_SHOWING]
    return sorted(found, key=lambda match: (-match.score, match.product.sku))[:limit]


def _closest(term: str, known: Counter[str]) -> tuple[str, float]:
    """The known term that is meant and how surely; ("", 0) when none is."""
    if term in known:
        return term, 1.0
    if not term.isascii():
        # 筷子 where the catalogue says 竹筷: the rarer of the two characters names the thing.
        characters = [char for char in term if char in known]
        return (min(characters, key=lambda char: known[char]), 1.0) if characters else ("", 0.0)
    if len(term) < 4 or not term.isalpha():
        return "", 0.0
    best, likeness = "", _SIMILAR
    matcher = SequenceMatcher(autojunk=False, b=term)
    # Sorted, so that two equally near words give the same answer every time.
    for word in sorted(known):
        if abs(len(word) - len(term)) > 2 or not (word.isascii() and word.isalpha()):
            continue
        matcher.set_seq1(word)
        if matcher.real_quick_ratio() >= likeness and matcher.quick_ratio() >= likeness and matcher.ratio() >= likeness:
            likeness = matcher.ratio() + 1e-9
            best = word
    return best, _TYPO if best else 0.0


def _score(asked: Sequence[str], meant: Sequence[tuple[str, str, float]], candidate: Searchable) -> float:
    if frozenset(asked) in candidate.names or candidate.product.sku.casefold() in asked:
        return 1.0
    total = hit = 0.0
    for term, known, sure in meant:
        weight = _SIZE_WEIGHT if _SIZE.fullmatch(term) else 1.0
        total += weight if known else weight * _UNKNOWN_WEIGHT
        hit += weight * sure * candidate.strength.get(known, 0.0)
    if not hit:
        return 0.0
    said = {known for _, known, _ in meant}
    covered = max((len(name & said) / len(name) for name in candidate.names), default=0.0)
    score = (1 - _NAME_SHARE) * hit / total + _NAME_SHARE * covered
    return round(min(0.99, score * (_WRONG_SIZE if _contradicts(asked, candidate) else 1.0)), 4)


def _contradicts(asked: Sequence[str], candidate: Searchable) -> bool:
    """True when a size is asked for in a unit in which the product has another size only."""
    own = [size for size in map(_SIZE.fullmatch, candidate.strength) if size]
    return any(
        (size := _SIZE.fullmatch(term)) and term not in candidate.strength and any(other[1] == size[1] for other in own)
        for term in asked
    )
