"""The bars of retrieval, over all labelled questions and all demo documents, on the real stores."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest_asyncio

from server.audit.changes import operator
from server.db.pool import Database
from server.knowledge import evaluation
from server.knowledge.wiring import Knowledge, KnowledgeSettings, open_knowledge
from server.tenants import ensure_tenant

SENTOSA = "When do you deliver, and what does it cost on Sentosa?"


@pytest_asyncio.fixture
async def desk(database: Database, chroma_url: str) -> AsyncIterator[tuple[Knowledge, str]]:
    tenant = f"retrieval-{uuid.uuid4().hex[:12]}"
    async with database.transaction() as connection:
        await ensure_tenant(connection, tenant)
    async with open_knowledge(KnowledgeSettings(chroma_url), database) as known:
        names = []
        for filename, content in evaluation.load_documents():
            names.append((await known.service.import_document(operator(tenant), filename, content)).document.name)
        await known.service.wait_indexed(tenant, names)
        yield known, tenant


async def test_questions_find_their_passages_and_others_are_refused(desk: tuple[Knowledge, str]) -> None:
    known, tenant = desk
    outcomes = await evaluation.run(known.search, tenant, evaluation.load_questions())
    rows = evaluation.summarise(outcomes)
    assert evaluation.below_the_bars(rows) == []
    whole = next(row for row in rows if (row.part, row.language) == ("all", "*"))
    assert whole.answered >= 0.90, "abstaining from everything would refuse well too"
    best = (await known.search.search(tenant, SENTOSA, 1)).passages[0]
    assert (best.document, best.heading) == ("documents/delivery", "Delivery days and charges by zone")
    assert "Sentosa SGD 18" in best.text


def test_the_labelled_set_is_what_it_says() -> None:
    questions = evaluation.load_questions()
    documents = {f"documents/{name.rsplit('.', 1)[0]}" for name, _ in evaluation.load_documents()}
    on = [question for question in questions if not question.off_topic]
    assert len({question.id for question in questions}) == len({question.question for question in questions})
    assert len(documents) >= 18
    assert {language: sum(q.language == language for q in on) >= least for language, least in
            {"en": 120, "zh": 50, "ms": 50}.items()} == {"en": True, "zh": True, "ms": True}  # fmt: skip
    assert len(questions) - len(on) >= 60
    assert all(document in documents for question in on for document, _ in question.accept)
    parts = [question.part for question in questions]
    assert 0.4 < parts.count("tune") / len(parts) < 0.6


def test_the_bars_can_fail() -> None:
    rows = [evaluation.Scores("test", language, 10, 0.5, 0.79, 1.0, 10, 0.89) for language in ("en", "zh", "ms", "*")]
    assert len(evaluation.below_the_bars(rows)) == 4
