"""Light stemming: enough to make "boxes" and "box", "menghantar" and "hantar" meet, no more.

Heavier stemmers (Porter, Snowball) were not taken: they merge what the desk must keep apart ("policy" and "police") and
know no Malay. Pure functions.
"""

from __future__ import annotations

import re

_SHORT = 3
_VOWELS = frozenset("aeiouy")
_MALAY_PREFIX = re.compile(r"(?:mem|men|meng|meny|me|ber|ter|di|pem|pen|peng|peny|pe|se)")
_MALAY_SUFFIX = re.compile(r"(?:nya|lah|kah|kan|an|i)$")
_ROOT = 4


def english_stem(word: str) -> str:
    """Plural, -ing, -ed and a final e taken off; the result is a key, not a word."""
    if len(word) <= _SHORT or not word.isascii():
        return word
    stem = _singular(word)
    if stem.endswith("ing") and _has_vowel(stem[:-3]):
        stem = _undouble(stem[:-3])
    elif stem.endswith("ed") and _has_vowel(stem[:-2]) and not stem.endswith("eed"):
        stem = _undouble(stem[:-2])
    return stem[:-1] if stem.endswith("e") and len(stem) > _SHORT else stem


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > _SHORT + 2:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _has_vowel(stem: str) -> bool:
    return len(stem) >= _SHORT and not _VOWELS.isdisjoint(stem)


def _undouble(stem: str) -> str:
    double = len(stem) > _SHORT and stem[-1] == stem[-2] and stem[-1] not in "lsz"
    return stem[:-1] if double else stem


def malay_roots(word: str) -> tuple[str, ...]:
    """Possible roots of a Malay word, longest first and the word itself first; only for lookups, most are no words."""
    found = {word: None}
    for base in (word, _MALAY_SUFFIX.sub("", word)):
        if len(base) >= _ROOT:
            found[base] = None
        for end in range(2, 5):
            if _MALAY_PREFIX.fullmatch(base[:end]) and len(base) - end >= _ROOT:
                found[base[end:]] = None
    return tuple(found)
