"""Words to search terms, the same way for documents and for questions, in English, Chinese and Malay.

A term is a stem ("box"), a Chinese bigram ("披萨") or a concept of `concepts.toml` ("@delivery"). A document carries
all of them; a question becomes `Unit`s, each with the terms that satisfy it: "送货", "hantar" and "deliver" meet in one
concept, and an exact word still counts for more than a related one.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from server.knowledge.stemming import english_stem, malay_roots

K = TypeVar("K")

CONCEPTS = Path(__file__).with_name("concepts.toml")
_RULES = "1"  # raise it when tokenising or stemming changes: what is stored was made by the old rules

_IGNORED = re.compile(r"['\u2019\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]")
_MARKS = re.compile(r"[\u0300-\u036f]")
_TOKEN = re.compile(
    r"[\u3400-\u4dbf\u4e00-\u9fff]+"  # a run of Chinese
    r"|[a-z]{1,4}[0-9]+[a-z]{0,3}(?![0-9a-z])"  # codes: l90, n4, pfas2
    r"|[0-9]+(?:[.,:][0-9]+)*"
    r"|[^\W\d_\u3400-\u4dbf\u4e00-\u9fff]+"
)
_LONGEST_CHINESE = 8
_RELATED = 0.8  # a hit on the concept where the customer's own word is not in the text
_SINGLE_CHARACTER = 0.5  # weight of a Chinese concept of one character: 车 is also half of other words
_PART = 0.5  # weight of the parts of a phrase ("delivery" and "fee" of "delivery fee") and of its broader concepts
_LEFTOVER = 0.7  # weight of Chinese bigrams that no dictionary word explains
FUZZY = 0.45  # trigram similarity from which a word is taken for a misspelling; pg_trgm's own measure
_FUZZY_LENGTH = 5
_MOST_ASKED = 2000  # characters of a question that are looked at: guessing misspelt words costs time


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing a question asks about. `exact` terms must all be in a text for a full hit (1.0); one of `related` is a
    hit of 0.8. `weight` scales its importance; `word` is what the customer wrote. `guess` are the concepts of the
    nearest known word, for the case that no document of the tenant knows this one (`Question.corrected`)."""

    word: str
    exact: tuple[str, ...]
    related: tuple[str, ...]
    weight: float = 1.0
    guess: tuple[str, ...] = ()

    @property
    def latin(self) -> bool:
        """Whether it is a word that can be misspelt: Latin letters and long enough to tell."""
        return len(self.word) >= _FUZZY_LENGTH and self.word.isascii() and self.word.isalpha()

    def hit(self, terms: frozenset[str]) -> float:
        """How well a text with `terms` serves this unit, 0 to 1."""
        if self.exact and all(term in terms for term in self.exact):
            return 1.0
        return _RELATED if any(term in terms for term in self.related) else 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """A question made searchable. `gloss` says it in English words of the vocabulary, in order ("" when none)."""

    units: tuple[Unit, ...]
    gloss: str

    @property
    def terms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(term for unit in self.units for term in (*unit.related, *unit.exact)))

    def corrected(self, nearest: Mapping[str, str]) -> Question:
        """With guesses accepted for the words in `nearest`, which occur nowhere: concepts of the nearest word of the
        vocabulary, and `nearest[word]`, a term of the tenant's documents ("" for none)."""
        units = tuple(
            replace(unit, related=tuple(filter(None, (*unit.related, *unit.guess, nearest[unit.word]))))
            if unit.word in nearest
            else unit
            for unit in self.units
        )
        return replace(self, units=units)


@dataclass(frozen=True, slots=True)
class _Match:
    """A span of the text and what it means: concepts, or nothing for a stop word or an unknown one (`known` False)."""

    word: str
    stems: tuple[str, ...]
    concepts: tuple[str, ...]
    known: bool
    chinese: bool = False


def normalise(text: str) -> str:
    """NFKC, lower case, no accents, no invisible characters: full-width forms and "café" become searchable."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", _MARKS.sub("", _IGNORED.sub("", decomposed)))


def trigrams(word: str) -> frozenset[str]:
    """The trigrams of a word as pg_trgm makes them (two blanks before, one behind)."""
    padded = f"  {word} "
    return frozenset(padded[at : at + 3] for at in range(len(padded) - 2))


class Lexicon:
    """The vocabulary of `concepts.toml`, ready for lookups. Immutable; one per process."""

    def __init__(self, path: Path = CONCEPTS) -> None:
        source = path.read_bytes()
        table = tomllib.loads(source.decode())
        self.analysis = hashlib.sha256(_RULES.encode() + source).hexdigest()[:12]
        self._phrases: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._chinese: dict[str, tuple[str, ...]] = {}
        self._roots: dict[str, tuple[str, ...]] = {}
        self._glosses: dict[str, str] = {}
        for concept, (english, chinese, malay) in table["concepts"].items():
            self._glosses[concept] = english.split(";")[0].strip()
            for phrase in _phrases(english):
                self._add(phrase, concept)
            for phrase in _phrases(malay):
                self._add(phrase, concept)
                if " " not in phrase:
                    for root in (phrase, *malay_roots(phrase)):
                        _append(self._roots, root, concept)
            for phrase in _phrases(chinese):
                if phrase.isascii():
                    self._add(phrase, concept)
                else:
                    _append(self._chinese, normalise(phrase), concept)
        self._broader: dict[str, list[str]] = table["broader"]
        self._stops = frozenset(normalise(f"{table['stop']['en']} {table['stop']['ms']}").split())
        self._chinese_stops = frozenset(table["stop"]["zh"].split())
        self._longest = max(len(phrase) for phrase in self._phrases)
        self._fuzzy = self._trigram_index()

    def document_terms(self, text: str) -> frozenset[str]:
        """Every term under which `text` can be found: stems, bigrams and concepts, also those inside longer ones."""
        terms: set[str] = set()
        for match in self._matches(normalise(text)):
            terms.update(match.stems)
            terms.update(f"@{concept}" for concept in (*match.concepts, *self._inside(match)))
        return frozenset(terms)

    def _inside(self, match: _Match) -> tuple[str, ...]:
        """Concepts of the single words of a phrase that was taken as one."""
        if match.chinese or len(match.stems) < 2:
            return ()
        return tuple(
            concept
            for stem in match.stems
            for concept in self._phrases.get((stem,), ())
            if concept not in match.concepts
        )

    def gloss(self, text: str) -> str:
        """`text` told in English words of the vocabulary, in order, each at most twice in a row of eight."""
        words: list[str] = []
        for match in self._matches(normalise(text)):
            said = [self._glosses[concept] for concept in match.concepts[:1]]
            if not match.concepts and not match.chinese and not match.known:
                said = [match.word]
            words += [word for word in said if word not in words[-8:]]
        return " ".join(words)

    def question(self, text: str) -> Question:
        """The units of a question. A Latin word that the vocabulary lacks may be a typing mistake: its unit carries the
        nearest word's concepts as a guess."""
        units: dict[tuple[str, ...], Unit] = {}
        text = normalise(text)[:_MOST_ASKED]
        for match in dict.fromkeys(self._matches(text)):
            unit = self._unit(match)
            if unit is not None:
                units.setdefault(unit.related or unit.exact, unit)
                for part in self._parts(match):
                    units.setdefault(part.related, part)
        return Question(tuple(units.values()), self.gloss(text))

    def _parts(self, match: _Match) -> Iterator[Unit]:
        broader = (concept for whole in match.concepts[:1] for concept in self._broader.get(whole, ()))
        for concept in dict.fromkeys((*broader, *self._inside(match))):
            yield Unit(match.word, (), (f"@{concept}",), _PART)

    def _unit(self, match: _Match) -> Unit | None:
        related = tuple(f"@{concept}" for concept in match.concepts)
        if match.concepts:
            weight = _SINGLE_CHARACTER if match.chinese and len(match.word) == 1 else 1.0
            return Unit(match.word, match.stems, related, weight)
        if match.known or not match.stems:
            return None
        if match.chinese:
            return Unit(match.word, match.stems, (), _LEFTOVER)
        guessed = tuple(f"@{concept}" for concept in self._misspelt(match.word))
        return Unit(match.word, match.stems, (), guess=guessed)

    def _misspelt(self, word: str) -> tuple[str, ...]:
        if len(word) < _FUZZY_LENGTH or not word.isascii() or not word.isalpha():
            return ()
        grams = trigrams(english_stem(word))
        best = 0.0
        concepts: tuple[str, ...] = ()
        for candidate in sorted({known for gram in grams for known in self._fuzzy.get(gram, ())}):
            other = trigrams(candidate)
            similarity = len(grams & other) / len(grams | other)
            if similarity > best:
                best, concepts = similarity, self._phrases[(candidate,)]
        return concepts if best >= FUZZY else ()

    def _matches(self, text: str) -> Iterator[_Match]:
        latin: list[str] = []
        for token in _TOKEN.findall(text):
            if "\u3400" <= token[0] <= "\u9fff":
                yield from self._latin(latin)
                latin = []
                yield from self._chinese_run(token)
            else:
                latin.append(token)
        yield from self._latin(latin)

    def _latin(self, words: list[str]) -> Iterator[_Match]:
        stems = [english_stem(word) for word in words]
        at = 0
        while at < len(words):
            length, concepts = self._longest_phrase(stems, at)
            if length == 1 and words[at] in self._stops:
                concepts = ()
            if concepts:
                span = words[at : at + length]
                content = tuple(english_stem(word) for word in span if word not in self._stops)
                yield _Match(" ".join(span), content, concepts, known=True)
            else:
                yield self._single(words[at], stems[at])
                length = 1
            at += length

    def _longest_phrase(self, stems: list[str], at: int) -> tuple[int, tuple[str, ...]]:
        for length in range(min(self._longest, len(stems) - at), 0, -1):
            concepts = self._phrases.get(tuple(stems[at : at + length]))
            if concepts:
                return length, concepts
        return 1, ()

    def _single(self, word: str, stem: str) -> _Match:
        if word in self._stops:
            return _Match(word, (), (), known=True)
        for root in malay_roots(word):
            if root in self._roots and root not in self._stops:
                return _Match(word, (stem,), self._roots[root], known=True)
        return _Match(word, (stem,), (), known=False)

    def _chinese_run(self, run: str) -> Iterator[_Match]:
        """Longest match first; what no word explains goes out as bigrams (a lone character as itself)."""
        at, rest = 0, ""
        while at < len(run):
            word = self._chinese_word(run, at)
            if word is None:
                rest += run[at]
                at += 1
                continue
            yield from _leftover(rest)
            rest = ""
            concepts = self._chinese.get(word, ())
            yield _Match(word, _bigrams(word) if concepts else (), concepts, known=True, chinese=True)
            at += len(word)
        yield from _leftover(rest)

    def _chinese_word(self, run: str, at: int) -> str | None:
        for length in range(min(_LONGEST_CHINESE, len(run) - at), 0, -1):
            word = run[at : at + length]
            if word in self._chinese or word in self._chinese_stops:
                return word
        return None

    def _add(self, phrase: str, concept: str) -> None:
        stems = tuple(english_stem(word) for word in _TOKEN.findall(normalise(phrase)))
        if stems:
            _append(self._phrases, stems, concept)

    def _trigram_index(self) -> dict[str, tuple[str, ...]]:
        index: dict[str, list[str]] = {}
        for stems in self._phrases:
            if len(stems) == 1 and len(stems[0]) >= _FUZZY_LENGTH - 1 and stems[0].isalpha():
                for gram in trigrams(stems[0]):
                    index.setdefault(gram, []).append(stems[0])
        return {gram: tuple(words) for gram, words in index.items()}


def _phrases(text: str) -> Iterable[str]:
    return (phrase for part in text.split(";") if (phrase := part.strip()))


def _append(table: dict[K, tuple[str, ...]], key: K, concept: str) -> None:
    held = table.get(key, ())
    if concept not in held:
        table[key] = (*held, concept)


def _bigrams(word: str) -> tuple[str, ...]:
    return tuple(word[at : at + 2] for at in range(len(word) - 1)) or (word,)


def _leftover(rest: str) -> Iterator[_Match]:
    for gram in _bigrams(rest) if rest else ():
        yield _Match(gram, (gram,), (), known=False, chinese=True)
