"""What the audit keeps of how an answer came about: enough to say why it said that, nothing of what was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from server.audit.leaf import Plain
from server.chat.suspicion import Source, Suspicion

# Per run; what comes after these says nothing new.
_MOST_SUSPECTS = 8


@dataclass(frozen=True, slots=True)
class Grounds:
    """What an answer is made from; told to nobody. The last one of a run counts.

    `chunks` are the passages that the model was shown, name to SHA-256; `refused_calls` counts tool calls that were not
    as offered, `removed` the places that the output checks took out, `invented` the citations and prices.
    """

    prompt: str
    model: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    chunks: Mapping[str, str] = field(default_factory=dict)
    refused_calls: int = 0
    removed: int = 0
    invented: int = 0


@dataclass(frozen=True, slots=True)
class Suspected:
    """A text that seems to speak to a model; told to nobody. `fingerprint` is of the text: a SHA-256 where the text is
    the supplier's, else `text` is kept until it is replaced by a keyed pseudonym, and never stored."""

    source: Source
    suspicion: Suspicion
    target: str = ""
    fingerprint: str = ""
    text: str = field(default="", repr=False)


@dataclass(slots=True)
class Decision:
    """Gathers one run's record while it goes on."""

    grounds: Grounds | None = None
    suspects: list[Suspected] = field(default_factory=list)
    _tools: Counter[str] = field(default_factory=Counter)

    def suspect(self, suspected: Suspected) -> None:
        if len(self.suspects) < _MOST_SUSPECTS and suspected not in self.suspects:
            self.suspects.append(suspected)

    def used(self, tool: str, state: str) -> None:
        self._tools[f"{tool} {state}"] += 1

    def details(self) -> dict[str, Plain]:
        """For the run's AI_DECISION leaf."""
        found: dict[str, Plain] = {}
        if self._tools:
            found["tools"] = dict(sorted(self._tools.items()))
        if self.grounds is not None:
            found |= _of(self.grounds)
        if self.suspects:
            found["suspicion"] = [_named(suspected) for suspected in self.suspects]
        return found


def security_details(suspected: Suspected, fingerprint: str) -> dict[str, Plain]:
    """For an INJECTION_SUSPECT leaf: without the text. The score is in thousandths: leaves hold no fractions."""
    return {
        "kind": "security",
        "source": suspected.source,
        "score": round(suspected.suspicion.score * 1000),
        "level": suspected.suspicion.level.name,
        "rules": list(suspected.suspicion.rules),
        "fingerprint": fingerprint,
    }


def _of(grounds: Grounds) -> dict[str, Plain]:
    counts = {"refused_calls": grounds.refused_calls, "removed": grounds.removed, "invented": grounds.invented}
    return {
        "prompt": grounds.prompt,
        "parameters": dict(grounds.parameters),
        "shown": [f"{name} {sha256}" for name, sha256 in grounds.chunks.items()],
        **{name: count for name, count in counts.items() if count},
    }


def _named(suspected: Suspected) -> str:
    rules: Sequence[str] = suspected.suspicion.rules
    return f"{suspected.source} {suspected.suspicion.level.name} {' '.join(rules)}"
