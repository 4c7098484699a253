"""Answering in the document's own words: the few sentences or table rows that serve every part of a question.

Nothing is written here, only chosen. A sentence is judged by the importance of what it shares with the question (words
and concepts of three languages, server/knowledge/lexical.py), by whether it holds the kind of fact that is asked for
(money, a time, a duration), and by how sure the search is of its passage.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from server.chat.question import Need, needs, parts
from server.knowledge.chunking import width
from server.knowledge.lexical import Lexicon
from server.knowledge.passages import Passage

_MOST_QUOTES = 3
_MOST_ROWS = 8
# A heading speaks for its sentences, but less than their own words.
_HEADING = 0.75
# Importance of the kind of fact asked for, and the most that a rare word has.
_KIND = 1.6
_RAREST = 1.6
# A word that no sentence has is mere talk as often as it is the point; the search has judged that already.
_UNKNOWN = 0.8
# What a sentence is worth at least, in a passage that the search trusts little and under a heading on something else.
_LEAST_TRUST = 0.3
_LEAST_HEADING = 0.3
# Passages in the customer's language are enough when the best of them is this near to the best of all.
_OWN_LANGUAGE = 0.85
_LINGUA_FRANCA = "en"
# Passages with so many figures in common, which are this share of what either has, are one text in two languages.
_SHARED_FIGURES, _TWIN = 2, 0.5
_FIGURE = re.compile(r"\d+(?:[.,]\d+)?")
# A section of this width at most is quoted whole: half an answer of three sentences misleads, whichever half it is.
_SHORT = 420.0
# A part counts as answered when its quotes serve this share of its importance.
_ANSWERED = 0.45
# A further sentence is quoted only when it adds this share of the question's importance.
_WORTH_ADDING = 0.22
# Rows that serve the question equally well belong together: one of seven delivery zones is no answer to "when".
_EQUAL = 0.97

_SENTENCE_END = re.compile(r"(?<=[。！？])|(?<=[.!?])(?=\s+[^\sa-z])")
_ROW = re.compile(r"[^:;]{1,60}: [^;]+(; [^:;]{1,60}: [^;]+)+")
_LEANS_BACK = re.compile(
    r"(?:After that|It |They |This |These |Those |That |But |Then |Otherwise|Below that|In that case|The same "
    r"|Selepas itu|Ia |Ini |Jika tidak|之后|它|这|否则|不足)"
)


@dataclass(frozen=True, slots=True)
class Quote:
    """A contiguous piece of a passage, exactly as written; `row` when it is one row of a table."""

    passage: Passage
    text: str
    row: bool


@dataclass(frozen=True, slots=True)
class Extract:
    """The quotes in reading order, the share of the question that they serve (0 to 1), and, of a question of several
    parts, those that nothing was found for; the share is of the others then."""

    quotes: tuple[Quote, ...]
    coverage: float
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence and how well it serves each need: with its own words, its headings', or not (0)."""

    passage: Passage
    place: tuple[int, int]  # of the passage in the result, of the sentence in the passage
    start: int
    end: int
    row: bool
    serves: tuple[float, ...]
    about: tuple[float, ...]  # the same by the headings alone


def extract(lexicon: Lexicon, question: str, passages: Sequence[Passage], language: str) -> Extract:
    """The sentences of `passages` that answer `question`, chosen one by one for what they add."""
    asked = parts(question)
    wanted = needs(lexicon, asked)
    near = _own_language(passages, language)
    sentences = [found for number, passage in enumerate(near) for found in _sentences(lexicon, passage, number, wanted)]
    if not sentences or not wanted:
        return Extract((), 0.0, tuple(asked))
    return _Choice(asked, wanted, sentences).made()


def _own_language(passages: Sequence[Passage], language: str) -> list[Passage]:
    """The passages in the customer's language when they are good enough, else all that many can read: English, too."""
    lifted = [_lifted(passage, passages) if passage.language == language else passage for passage in passages]
    best = max((passage.score for passage in lifted), default=0.0)
    own = [passage for passage in lifted if passage.language == language]
    if any(passage.score >= _OWN_LANGUAGE * best for passage in own):
        return own
    return [passage for passage in lifted if passage.language in {language, _LINGUA_FRANCA}] or lifted


def _lifted(passage: Passage, others: Sequence[Passage]) -> Passage:
    """The passage with the score of its best twin: what is found in one language is answered in the other."""
    twins = (other.score for other in others if other.language != passage.language and _twins(passage, other))
    return replace(passage, score=max(passage.score, *twins, 0.0))


def _twins(one: Passage, other: Passage) -> bool:
    """Whether two passages in different languages say the same, told by the figures: those need no translation."""
    left, right = (frozenset(_FIGURE.findall(passage.text)) for passage in (one, other))
    shared = len(left & right)
    return shared >= _SHARED_FIGURES and shared >= _TWIN * max(len(left), len(right))


class _Choice:
    """The choosing of one answer; used once."""

    def __init__(self, asked: Sequence[str], wanted: Sequence[Need], sentences: Sequence[_Sentence]) -> None:
        self._asked = asked
        self._needs = wanted
        self._sentences = sentences
        self._weights = [self._weight(number) for number in range(len(wanted))]
        self._best_score = max(sentence.passage.score for sentence in sentences) or 1.0
        self._chosen: list[_Sentence] = []
        self._served = [0.0] * len(wanted)

    def made(self) -> Extract:
        while len(self._chosen) < _MOST_QUOTES and (best := self._next()) is not None:
            together = [best, *(self._equal_rows(best) if best.row else self._section(best))]
            self._chosen += [sentence for sentence in together if sentence not in self._chosen]
            for sentence in together:
                self._served = [max(pair) for pair in zip(self._served, sentence.serves, strict=True)]
        missing = self._missing() if len(self._asked) > 1 else []
        counted = [number for number, need in enumerate(self._needs) if need.part not in missing]
        total = sum(self._weights[number] for number in counted)
        served = sum(self._weights[number] * self._served[number] for number in counted)
        quotes = tuple(_joined(self._chosen, self._sentences))
        return Extract(quotes, served / total if total else 0.0, tuple(self._asked[part] for part in missing))

    def _weight(self, number: int) -> float:
        """Importance of a need: inverse frequency among the sentences (BM25's form) for words."""
        unit = self._needs[number].unit
        if unit is None:
            return _KIND
        hits = sum(1 for sentence in self._sentences if sentence.serves[number])
        if not hits:
            return unit.weight * _UNKNOWN
        rarity = 0.4 + math.log(1 + (len(self._sentences) - hits + 0.5) / (hits + 0.5))
        return unit.weight * min(_RAREST, rarity)

    def _next(self) -> _Sentence | None:
        best = max(self._sentences, key=lambda sentence: (self._gain(sentence), -sentence.place[0], -sentence.place[1]))
        # Once every part is answered only more of the same passage helps; elsewhere stand chance hits.
        done = bool(self._chosen) and not self._missing()
        stray = done and all(best.passage is not other.passage for other in self._chosen)
        enough = _WORTH_ADDING * sum(self._weights) if self._chosen else 0.0
        return None if best in self._chosen or stray or self._added(best) <= enough else best

    def _added(self, sentence: _Sentence) -> float:
        shares = zip(self._weights, sentence.serves, self._served, strict=True)
        return sum(weight * max(0.0, share - served) for weight, share, served in shares)

    def _gain(self, sentence: _Sentence) -> float:
        """What the sentence adds, discounted by the doubt about its passage and heading."""
        trust = (sentence.passage.score / self._best_score) ** 2
        words = [number for number, need in enumerate(self._needs) if need.unit is not None]
        total = sum(self._weights[number] for number in words) or 1.0
        about = sum(self._weights[number] * sentence.about[number] for number in words) / total
        trusted = _LEAST_TRUST + (1 - _LEAST_TRUST) * trust
        return self._added(sentence) * trusted * (_LEAST_HEADING + (1 - _LEAST_HEADING) * about)

    def _value(self, sentence: _Sentence) -> float:
        return sum(weight * share for weight, share in zip(self._weights, sentence.serves, strict=True))

    def _section(self, best: _Sentence) -> list[_Sentence]:
        """The rest of a short passage of prose."""
        if width(best.passage.text) > _SHORT:
            return []
        return [other for other in self._same_passage(best) if not other.row]

    def _equal_rows(self, best: _Sentence) -> list[_Sentence]:
        """The other rows of the same table that serve the question as well as the best one."""
        mark = self._value(best) * _EQUAL
        rows = [other for other in self._same_passage(best) if other.row and self._value(other) >= mark]
        return rows[: _MOST_ROWS - 1]

    def _same_passage(self, best: _Sentence) -> list[_Sentence]:
        return [other for other in self._sentences if other.passage is best.passage and other is not best]

    def _missing(self) -> list[int]:
        """The parts of the question that the chosen sentences leave open."""
        found = []
        for part in range(len(self._asked)):
            own = [number for number, need in enumerate(self._needs) if need.part == part]
            total = sum(self._weights[number] for number in own)
            if sum(self._weights[number] * self._served[number] for number in own) < _ANSWERED * total:
                found.append(part)
        return found


def _sentences(lexicon: Lexicon, passage: Passage, number: int, wanted: Sequence[Need]) -> Iterator[_Sentence]:
    heading = lexicon.document_terms(f"{passage.title} {passage.heading}")
    about = tuple(need.unit.hit(heading) if need.unit else 0.0 for need in wanted)
    for place, (start, end, row) in enumerate(_spans(passage.text)):
        text = passage.text[start:end]
        terms = lexicon.document_terms(text)
        own = [need.unit.hit(terms) if need.unit else 0.0 for need in wanted]
        serves = [max(hit, _HEADING * share) for hit, share in zip(own, about, strict=True)]
        # "5 working days" answers "how long" only where the sentence is about the thing at all.
        relevant = any(serves)
        serves = [
            share if need.unit else float(relevant and need.told_by(text))
            for need, share in zip(wanted, serves, strict=True)
        ]
        yield _Sentence(passage, (number, place), start, end, row, tuple(serves), about)


def _spans(text: str) -> Iterator[tuple[int, int, bool]]:
    """(start, end, is a table row) of each sentence; a row is never cut."""
    at = 0
    for line in text.splitlines(keepends=True):
        row = bool(_ROW.fullmatch(line.strip()))
        for piece in [line] if row else _SENTENCE_END.split(line):
            stripped = piece.strip()
            if stripped:
                start = at + piece.index(stripped)
                yield start, start + len(stripped), row
            at += len(piece)


def _joined(chosen: Sequence[_Sentence], sentences: Sequence[_Sentence]) -> Iterator[Quote]:
    """Quotes in reading order; a sentence that leans on the one before brings it along, neighbours become one quote."""
    by_place = {sentence.place: sentence for sentence in sentences}
    wanted = {sentence.place for sentence in chosen}
    for sentence in chosen:
        passage, number = sentence.place
        if number and _LEANS_BACK.match(sentence.passage.text[sentence.start : sentence.end]):
            wanted.add((passage, number - 1))
    order = list(dict.fromkeys(sentence.place[0] for sentence in chosen))
    run: list[_Sentence] = []
    for place in sorted(wanted, key=lambda place: (order.index(place[0]), place[1])):
        sentence = by_place[place]
        if run and not _continues(run[-1], sentence):
            yield _quote(run)
            run = []
        run.append(sentence)
    if run:
        yield _quote(run)


def _continues(last: _Sentence, sentence: _Sentence) -> bool:
    return not (last.row or sentence.row) and sentence.place == (last.place[0], last.place[1] + 1)


def _quote(run: Sequence[_Sentence]) -> Quote:
    passage = run[0].passage
    return Quote(passage, passage.text[run[0].start : run[-1].end], run[0].row)
