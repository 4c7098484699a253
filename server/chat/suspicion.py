"""How much a text speaks to a model instead of to a desk. Deterministic: rules (suspicion.toml) over every reading.

It judges words and knows no intent, so it may be wrong both ways; what is safe never depends on it. A high score takes
the run's tools and model away; whatever it misses still meets rights, output checks and a person's confirmation.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cache
from importlib import resources

from server.chat.unmasking import cut, hidden, invisible, seen, tagged

# From these scores on; see `Level`.
_MEDIUM, _HIGH = 0.35, 0.7
# The most that one rule may say against a person who speaks: it takes two to take the model away.
_MOST_AGAINST_A_PERSON = 0.6
# What hides its words means harm more often than what says them.
_HIDING = 0.5
_UNSEEN_CHARACTERS, _MOST_UNSEEN = 0.4, 3
_GAP = re.compile(r"…|\.\.")


class Level(IntEnum):
    """What a score is good for: nothing, caution (no tools, a smaller budget), or answers that are quoted only."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2


class Source(StrEnum):
    """Where a text came from."""

    MESSAGE = "message"
    HISTORY = "history"
    OUTLET = "outlet"
    DOCUMENT = "document"
    PRODUCT = "product"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What the rules make of one text; `rules` are the ids that fired, "+hidden" where they fired in hiding."""

    score: float = 0.0
    rules: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        return Level.HIGH if self.score >= _HIGH else Level.MEDIUM if self.score >= _MEDIUM else Level.LOW


@dataclass(frozen=True, slots=True)
class _Rule:
    id: str
    weight: float
    in_data: float
    patterns: tuple[re.Pattern[str], ...]

    def fires(self, text: str) -> bool:
        return any(pattern.search(text) for pattern in self.patterns)


def suspect(text: str, source: Source) -> Suspicion:
    """Judges one text. Reads at most `unmasking.LONGEST` characters of it."""
    read = cut(text)
    rules = _rules()
    plain = seen(read)
    found = {rule.id: _weight(rule, source) for rule in rules if rule.fires(plain)}
    readings = [reading for reading in hidden(read) if reading != plain]
    in_hiding = {
        rule.id: _weight(rule, source)
        for rule in rules
        if rule.id not in found and any(rule.fires(reading) for reading in readings)
    }
    found |= {f"{id}+hidden": weight for id, weight in in_hiding.items()}
    if in_hiding:
        found["hiding"] = _HIDING
    if tagged(read) or invisible(read) > _MOST_UNSEEN:
        found["invisible"] = _UNSEEN_CHARACTERS
    return Suspicion(_together(found.values()), tuple(sorted(found)))


def _weight(rule: _Rule, source: Source) -> float:
    spoken = source in {Source.MESSAGE, Source.HISTORY}
    return min(rule.weight, _MOST_AGAINST_A_PERSON) if spoken else rule.in_data


def _together(weights: Iterable[float]) -> float:
    """The probability that at least one of independent signs is right."""
    innocent = 1.0
    for weight in weights:
        innocent *= 1 - weight
    return round(1 - innocent, 3)


@cache
def _rules() -> tuple[_Rule, ...]:
    table = tomllib.loads(resources.files("server.chat").joinpath("suspicion.toml").read_text(encoding="utf-8"))
    words: dict[str, str] = table["words"]
    return tuple(
        _Rule(
            rule["id"],
            rule["weight"],
            rule.get("data", rule["weight"]),
            tuple(_compiled(pattern, words) for pattern in rule["patterns"]),
        )
        for rule in table["rule"]
    )


def _compiled(pattern: str, words: dict[str, str]) -> re.Pattern[str]:
    spelt = re.sub(r"<([a-z_]+)>", lambda name: words.get(name[1], name[0]), pattern)
    return re.compile(_GAP.sub(lambda gap: r"[^\n]{0,20}?" if gap[0] == "…" else r"[^\n]{0,40}?", spelt), re.MULTILINE)
