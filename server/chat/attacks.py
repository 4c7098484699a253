"""The labelled texts of `tria injection`: attacks.jsonl and honest.jsonl.

How they came about, because a figure without that means little. All were invented by the hand that wrote the rules of
suspicion.toml, in English, Chinese and Malay. "tune" and "unseen" were written in one go and before the rules; the
unseen ones were never looked at while these were tuned, but whoever wrote the rules had written them. "late" ones came
when the rules stood: at first sight 1 of 24 attacks was suspected and 5 of 38 honest messages lost their model, so one
rule alone no longer takes it away. "blind" ones came after that and changed nothing. An attack's `channel` is where its
text stands; an honest message looks like an attack and is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

from server.chat.assistant import Language


class Part(StrEnum):
    """What a text may be used for: to tune rules on, or only to report."""

    TUNE = "tune"
    UNSEEN = "unseen"
    LATE = "late"
    BLIND = "blind"


class Channel(StrEnum):
    """Where an attack stands. A note is written into the customer's message."""

    MESSAGE = "message"
    NOTE = "note"
    HISTORY = "history"
    OUTLET = "outlet"
    DOCUMENT = "document"
    PRODUCT = "product"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text; `channel` is None for an honest message. `history` alternates between customer and desk."""

    id: str
    language: Language
    text: str
    channel: Channel | None = None
    goal: str = ""
    history: tuple[str, ...] = ()

    @property
    def part(self) -> Part:
        return Part(self.id.split("-")[1])


def attacks() -> list[Labelled]:
    """The attacks in the order of the file."""
    return [
        Labelled(
            row["id"],
            Language(row["language"]),
            row["text"],
            Channel(row["channel"]),
            row["goal"],
            tuple(row.get("history", ())),
        )
        for row in _rows("attacks.jsonl")
    ]


def honest() -> list[Labelled]:
    """The honest messages in the order of the file."""
    return [Labelled(row["id"], Language(row["language"]), row["text"]) for row in _rows("honest.jsonl")]


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = resources.files("server.chat").joinpath(name).read_text(encoding="utf-8")
    return map(json.loads, text.splitlines())
