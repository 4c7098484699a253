"""The offline assistant's own words (replies.toml), per language."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from server.chat.assistant import Language

_EDGE = " \t\r\n\f\v\u3000,.!?，。！？"


@dataclass(frozen=True, slots=True)
class Voice:
    """One language's texts; `words` maps a group (units, states …) to its names."""

    language: Language
    texts: Mapping[str, str]
    words: Mapping[str, Mapping[str, str]]

    def say(self, name: str, /, **values: str) -> str:
        """The text `name` with its placeholders filled; values are not interpreted."""
        return self.texts[name].format_map(values)

    def word(self, group: str, name: str) -> str:
        """The name in this language, or as it stands when the table does not have it."""
        return self.words[group].get(name, name)


@dataclass(frozen=True, slots=True)
class Heard:
    """What short messages mean; all lower case."""

    yes: frozenset[str]
    no: frozenset[str]
    follow_up: tuple[str, ...]
    change: tuple[str, ...]
    cancel: tuple[str, ...]
    arrival: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replies:
    """All languages."""

    voices: Mapping[Language, Voice]
    heard: Heard

    def offered(self, answer: str) -> bool:
        """True when this answer of ours ended with the offer to call a colleague."""
        return any(answer.rstrip().endswith(offer) for offer in self._offers())

    def gave_up(self, answer: str) -> bool:
        """True when this answer of ours was an abstention."""
        texts = (voice.texts[name] for voice in self.voices.values() for name in ("abstain", "off_topic"))
        return answer.strip() in texts

    def _offers(self) -> list[str]:
        names = ("abstain", "off_topic", "partly", "orders_none", "orders_eta")
        ends = (re.split(r"(?<=[.!。！”])", voice.texts[name])[-1] for voice in self.voices.values() for name in names)
        return [end.strip() for end in ends]


@cache
def load_replies() -> Replies:
    """The table that ships with the program."""
    data = tomllib.loads(resources.files("server.chat").joinpath("replies.toml").read_text(encoding="utf-8"))
    voices = {}
    for language in Language:
        table = data[language.value]
        texts = {name: text for name, text in table.items() if isinstance(text, str)}
        words = {name: group for name, group in table.items() if not isinstance(group, str)}
        voices[language] = Voice(language, texts, words)
    heard = {name: [entry.lower() for entry in entries] for name, entries in data["heard"].items()}
    return Replies(
        voices,
        Heard(
            frozenset(heard["yes"]),
            frozenset(heard["no"]),
            tuple(heard["follow_up"]),
            tuple(heard["change"]),
            tuple(heard["cancel"]),
            tuple(heard["arrival"]),
        ),
    )


def plain(text: str) -> str:
    """A short message without its punctuation, lower case, as the tables of `Heard` have it."""
    return text.lower().strip(_EDGE)


def says(text: str, phrases: tuple[str, ...]) -> bool:
    """True when one of the phrases stands in the text, Latin ones as whole words."""
    lowered = text.lower()
    return any(
        re.search(rf"\b{re.escape(phrase)}\b", lowered) if phrase.isascii() else phrase in lowered for phrase in phrases
    )
