"""What the offline assistant answers from the demo documents, against the facts that a right answer must contain."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import resources

import pytest_asyncio

from server.chat.assistant import Answered, AnswerKind, Cited, Delta, Turn
from server.chat.desk_tools import DeskTools
from server.chat.glossing import Glossary
from server.chat.intent_head import load
from server.chat.offline import OfflineAssistant
from server.chat.understanding import Understanding
from server.db.pool import Database
from server.embedded import demo
from server.knowledge.wiring import KnowledgeSettings, open_knowledge
from server.order.catalogue import Catalogue
from tests.support.orders import desk_without_accounting

FIGURE = re.compile(r"\d+(?:[.,:]\d+)*")
BAR = 0.85


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the facts of a right answer, each in any of some wordings, and texts that would mislead."""

    id: str
    language: str
    question: str
    facts: list[list[str]]
    wrong: list[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said, with the passages that it was quoted from."""

    text: str
    quotes: str
    kind: AnswerKind

    def has(self, fact: list[str]) -> bool:
        return any(wording.casefold() in self.text.casefold() for wording in fact)


def questions() -> list[Asked]:
    lines = resources.files("server.chat").joinpath("answers.jsonl").read_text(encoding="utf-8").splitlines()
    return [Asked(**json.loads(line)) for line in lines]


@pytest_asyncio.fixture(scope="module")
async def answers(filled_dsn: str, chroma_url: str) -> AsyncIterator[dict[str, Answer]]:
    settings = KnowledgeSettings(chroma_url)
    found = {}
    async with Database(filled_dsn) as database, open_knowledge(settings, database) as known:
        orders = desk_without_accounting(database, filled_dsn).reading
        tools = DeskTools(known.search, Catalogue(database), orders, demo.TENANT, "", None, lambda: None)
        understanding = Understanding(load(), Glossary(), known.embedder)
        assistant = OfflineAssistant(known.lexicon, understanding.understand)
        for asked in questions():
            found[asked.id] = await _answer(assistant, asked.question, tools)
    yield found


async def _answer(assistant: OfflineAssistant, question: str, tools: DeskTools) -> Answer:
    events = [event async for event in assistant.reply(Turn(question), tools)]
    last = events[-1]
    assert isinstance(last, Answered)
    return Answer(
        "".join(event.text for event in events if isinstance(event, Delta)),
        " ".join(event.quote for event in events if isinstance(event, Cited)),
        last.kind,
    )


def test_right_answers_hold_their_facts(answers: dict[str, Answer]) -> None:
    facts = [(asked.id, fact, answers[asked.id].has(fact)) for asked in questions() for fact in asked.facts]
    missing = [(name, fact, answers[name].text) for name, fact, there in facts if not there]
    assert 1 - len(missing) / len(facts) >= BAR, missing


def test_no_answer_holds_a_figure_that_misleads(answers: dict[str, Answer]) -> None:
    wrong = [
        (asked.id, text, answers[asked.id].text)
        for asked in questions()
        for text in asked.wrong
        if re.search(rf"(?<!\d){re.escape(text)}", answers[asked.id].text)
    ]
    assert not wrong


def test_every_figure_is_quoted_or_the_number_of_a_source(answers: dict[str, Answer]) -> None:
    for answer in answers.values():
        if answer.quotes:
            said = re.sub(r"\[\d+\]", "", answer.text)
            assert set(FIGURE.findall(said)) <= set(FIGURE.findall(answer.quotes))


def test_every_language_is_asked_about_enough() -> None:
    counted = [asked.language for asked in questions()]
    assert len(counted) >= 45
    assert min(counted.count(language) for language in ("en", "zh", "ms")) >= 10
