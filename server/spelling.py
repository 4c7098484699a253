"""Words one slip of the keyboard apart. Index known words by `without_one`; what shares a form is compared by
`one_slip`."""

from __future__ import annotations

from collections.abc import Iterator


def without_one(word: str) -> Iterator[str]:
    """The word and every form with one letter missing: two words one slip apart share at least one of these
    (symmetric deletes, github.com/wolfgarbe/SymSpell)."""
    yield word
    for place in range(len(word)):
        yield word[:place] + word[place + 1 :]


def one_slip(typed: str, known: str) -> bool:
    """True when one insertion, deletion, replacement or swap of neighbours turns one word into the other."""
    if len(typed) > len(known):
        typed, known = known, typed
    if len(known) - len(typed) > 1:
        return False
    start = 0
    while start < len(typed) and typed[start] == known[start]:
        start += 1
    if len(typed) < len(known):
        return typed[start:] == known[start + 1 :]
    swapped = typed[start : start + 2] == known[start : start + 2][::-1] and typed[start + 2 :] == known[start + 2 :]
    return swapped or typed[start + 1 :] == known[start + 1 :]
