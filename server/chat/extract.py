"""Answering in the document's own words: the few sentences or table rows that serve every part of a question.

Nothing is written here, only chosen. A sentence is judged by the importance of what it shares with the question (words
and concepts of three languages, server/knowledge/lexical.py), and by whether it holds the kind of fact that is asked
for: money, a time, a duration, a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from server.knowledge.chunking import width
from server.knowledge.lexical import Lexicon, Unit
from server.knowledge.passages import Passage

_MOST_QUOTES = 3
_MOST_ROWS = 8
# A heading speaks for its sentences, but less than their own words.
_HEADING = 0.75
# Weight of the kind of fact asked for, in units of one fairly rare word.
_KIND = 1.6
# What a sentence adds is worth less in another language, in a passage that the search trusts less, and under a heading
# about something else.
_OTHER_LANGUAGE = 0.75
_LEAST_TRUST = 0.3
_LEAST_HEADING = 0.8
# A word that no sentence has is mere talk as often as it is the point; the search has judged that already.
_UNKNOWN = 0.8
# A section of this width at most is quoted whole, unless one of its sentences serves the question this much better than
# all others. Half an answer of three sentences misleads.
_SHORT = 420.0
_STANDS_OUT = 1.6
# A part counts as answered when its quotes serve this share of its importance.
_ANSWERED = 0.45
# A further sentence is quoted only when it adds this share of the question's importance.
_WORTH_ADDING = 0.22
# Rows that serve the question equally well belong together: one of seven delivery zones is no answer to "when".
_EQUAL = 0.97

_SENTENCE_END = re.compile(r"(?<=[。！？])|(?<=[.!?])(?=\s+[^\sa-z])")
_ROW = re.compile(r"[^:;]{1,60}: [^;]+(; [^:;]{1,60}: [^;]+)+")
_LEANS_BACK = re.compile(
    r"(?:After that|It |They |This |These |Those |That |But |Then |Otherwise|Below that|In that case"
    r"|Selepas itu|Ia |Ini |Jika tidak|之后|它|这|否则|不足)"
)
_PARTS = re.compile(
    r"""(?<=[?？!！。;；\n]) | (?<=[.])(?=\s+\S)
    | [,，]\s*(?=(?:and|also|plus|or|dan|juga|serta)\b|和|还有|另外)
    | \s+(?=(?:and|also|dan|juga)\s+(?:also\s+)?(?:what|when|how|where|who|which|is|are|do|does|can|apa|bila|berapa
        |macam|bagaimana|boleh|di\s+mana|siapa)\b)
    | [,，](?=\s*(?:what|when|how|where|who|which|is\s+there|do\s+you|bila|berapa|macam\s+mana|boleh)\b)
    | [,，](?=[^,，]*[多几什怎哪吗])
    | (?=还有|另外|以及)""",
    re.IGNORECASE | re.VERBOSE,
)
_ASKS = {
    "money": r"""\b(?:how\ much|costs?|price|fees?|charges?|surcharge|minimum|discount|interest|penalty|diskaun|faedah
        |caj|kos|harga|bayaran)\b | 多少钱|费|价|最低|折扣|利息|加钱|优惠""",
    "time": r"""\b(?:when|what\ (?:time|days?)|which\ days?|cut-?off|opening\ hours|until\ when|bila|pukul\ berapa
        |hari\ apa|waktu|jam\ berapa)\b | 什么时候|几点|几时|星期几|哪天|哪几天|时间|最晚|截单""",
    "duration": r"""\b(?:how\ (?:long|many\ days|soon)|within|lead\ time|berapa\ (?:lama|hari)|tempoh)\b
        | 多久|几天|多少天|多长时间|账期""",
}
_TELLS = {
    "money": r"""\b(?:SGD|RM|MYR|USD)\b | S?\$ | 新币|元|%|％ | \b(?:free|percuma)\b | 免""",
    "time": r"""\d{1,2}[:.]\d{2} | \d\s*(?:am|pm)\b | (?:mon|tues|wednes|thurs|fri|satur|sun)days?\b
        | \b(?:isnin|selasa|rabu|khamis|jumaat|sabtu|ahad)\b | 星期|周[一二三四五六日]|点""",
    "duration": r"""\d+\s*(?:(?:working|calendar)\ )?(?:minutes?|hours?|days?|weeks?|months?|minit|jam|hari|minggu|bulan
        |分钟|小时|天|日|个月|周|个工作日)""",
}
# Per kind of fact: how it is asked for, and what a sentence looks like that has it.
_KINDS = {
    kind: tuple(re.compile(pattern, re.IGNORECASE | re.VERBOSE) for pattern in (asks, _TELLS[kind]))
    for kind, asks in _ASKS.items()
}


@dataclass(frozen=True, slots=True)
class Quote:
    """A contiguous piece of a passage, exactly as written; `row` when it is one row of a table."""

    passage: Passage
    text: str
    row: bool


@dataclass(frozen=True, slots=True)
class Extract:
    """The quotes in reading order, the parts of the question that nothing was found for, and the share of the other
    parts that the quotes serve (0 to 1)."""

    quotes: tuple[Quote, ...]
    coverage: float
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    passage: Passage
    place: tuple[int, int]  # of the passage in the result, of the sentence in the passage
    start: int
    end: int
    row: bool
    terms: frozenset[str]
    heading: frozenset[str]

    @property
    def text(self) -> str:
        return self.passage.text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class _Need:
    """One thing to be served: a unit of the question, or a kind of fact."""

    unit: Unit | None
    kind: str
    weight: float
    part: int

    def served(self, candidate: _Candidate) -> float:
        if self.unit is None:
            return 1.0 if _KINDS[self.kind][1].search(candidate.text) else 0.0
        return max(self.unit.hit(candidate.terms), _HEADING * self.unit.hit(candidate.heading))


@dataclass(frozen=True, slots=True)
class _Asked:
    parts: tuple[str, ...]
    language: str
    best_score: float


def parts(question: str) -> list[str]:
    """The questions in a message, at least one: "When do you deliver, and what does it cost?" has two."""
    found = [part.strip(" ,，;；\n") for part in _PARTS.split(question)]
    return [part for part in found if len(part) > 1] or [question]


def extract(lexicon: Lexicon, question: str, passages: Sequence[Passage], language: str) -> Extract:
    """The sentences of `passages` that answer `question`, chosen one by one for what they add."""
    candidates = [found for number, passage in enumerate(passages) for found in _candidates(lexicon, passage, number)]
    asked = _Asked(tuple(parts(question)), language, max((passage.score for passage in passages), default=0.0))
    needs = _needs(lexicon, asked.parts, candidates)
    total = sum(need.weight for need in needs)
    if not candidates or not total:
        return Extract((), 0.0, asked.parts)
    chosen, served = _chosen(asked, needs, candidates, total)
    missing = list(_missing(asked.parts, needs, served))
    answered = [
        number for number, need in enumerate(needs) if asked.parts[need.part] not in missing or len(asked.parts) == 1
    ]
    weight = sum(needs[number].weight for number in answered)
    coverage = sum(needs[number].weight * served[number] for number in answered) / weight if weight else 0.0
    return Extract(tuple(_joined(chosen, candidates)), coverage, tuple(missing) if len(asked.parts) > 1 else ())


def _chosen(
    asked: _Asked, needs: Sequence[_Need], candidates: Sequence[_Candidate], total: float
) -> tuple[list[_Candidate], dict[int, float]]:
    """The sentences to quote, and how far each need is served by them; the best addition first."""
    chosen: list[_Candidate] = []
    served = dict.fromkeys(range(len(needs)), 0.0)
    while len(chosen) < _MOST_QUOTES:
        best = max(candidates, key=lambda candidate: _gain(candidate, needs, served, asked))
        added = sum(_added(best, need, served[number]) for number, need in enumerate(needs))
        # Once every part is answered only more of the same passage helps; elsewhere stand chance hits.
        done = bool(chosen) and not list(_missing(asked.parts, needs, served))
        stray = done and all(best.passage is not other.passage for other in chosen)
        if added <= (_WORTH_ADDING * total if chosen else 0.0) or best in chosen or stray:
            break
        together = [best, *(_equals if best.row else _section)(best, candidates, needs)]
        chosen += [candidate for candidate in together if candidate not in chosen]
        for number, need in enumerate(needs):
            served[number] = max(served[number], *(need.served(candidate) for candidate in together))
    return chosen, served


def _candidates(lexicon: Lexicon, passage: Passage, number: int) -> Iterator[_Candidate]:
    heading = lexicon.document_terms(f"{passage.title} {passage.heading}")
    for place, (start, end, row) in enumerate(_sentences(passage.text)):
        terms = lexicon.document_terms(passage.text[start:end])
        yield _Candidate(passage, (number, place), start, end, row, terms, heading)


def _sentences(text: str) -> Iterator[tuple[int, int, bool]]:
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


def _needs(lexicon: Lexicon, asked: Sequence[str], candidates: Sequence[_Candidate]) -> list[_Need]:
    needs: list[_Need] = []
    seen: set[tuple[str, ...]] = set()
    for number, part in enumerate(asked):
        for unit in lexicon.question(part).units:
            key = unit.related or unit.exact
            if key not in seen:
                seen.add(key)
                needs.append(_Need(unit, "", unit.weight * _rarity(unit, candidates), number))
        needs += [_Need(None, kind, _KIND, number) for kind, (asks, _) in _KINDS.items() if asks.search(part)]
    return needs


def _rarity(unit: Unit, candidates: Sequence[_Candidate]) -> float:
    """Inverse frequency among the sentences found (BM25's form), at most that of a word in one sentence of six."""
    hits = sum(1 for candidate in candidates if unit.hit(candidate.terms) or unit.hit(candidate.heading))
    if not hits:
        return _UNKNOWN
    return min(1.6, 0.4 + math.log(1 + (len(candidates) - hits + 0.5) / (hits + 0.5)))


def _added(candidate: _Candidate, need: _Need, served: float) -> float:
    return need.weight * max(0.0, need.served(candidate) - served)


def _gain(
    candidate: _Candidate, needs: Sequence[_Need], served: dict[int, float], question: _Asked
) -> tuple[float, int, int]:
    """What the sentence adds, discounted; ties go to what stands first."""
    added = sum(_added(candidate, need, served[number]) for number, need in enumerate(needs))
    added *= 1.0 if candidate.passage.language == question.language else _OTHER_LANGUAGE
    added *= _LEAST_TRUST + (1 - _LEAST_TRUST) * candidate.passage.score / (question.best_score or 1.0)
    added *= _LEAST_HEADING + (1 - _LEAST_HEADING) * _about(candidate, needs)
    passage, sentence = candidate.place
    return (added, -passage, -sentence)


def _about(candidate: _Candidate, needs: Sequence[_Need]) -> float:
    """The share of the question's words that the headings say."""
    words = [(need.weight, need.unit.hit(candidate.heading)) for need in needs if need.unit is not None]
    return sum(weight * hit for weight, hit in words) / (sum(weight for weight, _ in words) or 1.0)


def _section(best: _Candidate, candidates: Sequence[_Candidate], needs: Sequence[_Need]) -> list[_Candidate]:
    """The rest of a short passage of prose, unless `best` says it all."""
    if best.row or width(best.passage.text) > _SHORT:
        return []
    rest = [other for other in candidates if other.passage is best.passage and other is not best and not other.row]
    second = max((_value(other, needs) for other in rest), default=0.0)
    return rest if _value(best, needs) <= _STANDS_OUT * second else []


def _value(candidate: _Candidate, needs: Sequence[_Need]) -> float:
    return sum(need.weight * need.served(candidate) for need in needs)


def _equals(best: _Candidate, candidates: Sequence[_Candidate], needs: Sequence[_Need]) -> list[_Candidate]:
    """The other rows of the same table that serve the question as well as the best one."""
    mark = _value(best, needs) * _EQUAL
    rows = [other for other in candidates if other.row and other.passage is best.passage and other is not best]
    return [row for row in rows if _value(row, needs) >= mark][: _MOST_ROWS - 1]


def _missing(asked: Sequence[str], needs: Sequence[_Need], served: dict[int, float]) -> Iterator[str]:
    for number, part in enumerate(asked):
        own = [(need.weight, served[place]) for place, need in enumerate(needs) if need.part == number]
        total = sum(weight for weight, _ in own)
        if total and sum(weight * share for weight, share in own) < _ANSWERED * total:
            yield part


def _joined(chosen: Sequence[_Candidate], candidates: Sequence[_Candidate]) -> Iterator[Quote]:
    """Quotes in reading order; a sentence that leans on the one before brings it along, neighbours become one quote."""
    by_place = {candidate.place: candidate for candidate in candidates}
    wanted = {candidate.place for candidate in chosen}
    for passage, sentence in list(wanted):
        if sentence and _LEANS_BACK.match(by_place[passage, sentence].text):
            wanted.add((passage, sentence - 1))
    order = list(dict.fromkeys(candidate.place[0] for candidate in chosen))
    run: list[_Candidate] = []
    for place in sorted(wanted, key=lambda place: (order.index(place[0]), place[1])):
        candidate = by_place[place]
        follows = bool(run) and place == (run[-1].place[0], run[-1].place[1] + 1)
        if run and not (follows and not candidate.row and not run[-1].row):
            yield _quote(run)
            run = []
        run.append(candidate)
    if run:
        yield _quote(run)


def _quote(run: Sequence[_Candidate]) -> Quote:
    passage = run[0].passage
    return Quote(passage, passage.text[run[0].start : run[-1].end], run[0].row)
