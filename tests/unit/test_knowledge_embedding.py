"""MiniLM gives the vectors it gave when it was checked, and refuses other bytes; scores behave as documented."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from server.knowledge import embedding
from server.knowledge.embedding import EmbeddingFailed, OnnxEmbedder, QueryCache, Scale
from server.knowledge.lexical import Question, Unit
from server.knowledge.ranking import HYBRID, Evidence, Statistics, features, language_fit, probability


@pytest_asyncio.fixture
async def embedder() -> AsyncIterator[OnnxEmbedder]:
    model = OnnxEmbedder()
    yield model
    await model.close()


async def test_known_texts_lie_where_they_lay(embedder: OnnxEmbedder) -> None:
    vectors = await embedder.embed(["When do you deliver?", "Delivery days and charges", "pizza dough recipe"])
    assert vectors.shape == (3, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] == pytest.approx(0.6225, abs=0.01)
    assert cosines[0, 2] == pytest.approx(0.0938, abs=0.02)


async def test_the_company_a_text_keeps_does_not_change_it(embedder: OnnxEmbedder) -> None:
    alone = await embedder.embed(["free delivery"])
    padded = await embedder.embed(["free delivery", "a much longer text about cups and lids that pads the batch " * 8])
    assert float(alone[0] @ padded[0]) > 0.995  # int8 weights: padding moves the last digits


async def test_many_at_once_and_none(embedder: OnnxEmbedder) -> None:
    assert (await embedder.embed([])).shape == (0, 384)
    results = await asyncio.gather(*(embedder.embed_query(f"question {n % 3}") for n in range(30)))
    assert float(results[0] @ results[3]) == pytest.approx(1.0, abs=1e-5)
    assert (await embedder.embed_query("question 0")) is (await embedder.embed_query("question 0"))


async def test_other_bytes_are_refused(embedder: OnnxEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "tokenizer.json"
    changed.write_bytes(embedding.TOKENIZER.read_bytes() + b" ")
    monkeypatch.setattr(embedding, "TOKENIZER", changed)
    with pytest.raises(EmbeddingFailed) as caught:
        await embedder.embed(["text"])
    assert caught.value.permanent


def test_the_least_recently_asked_question_is_forgotten() -> None:
    cache = QueryCache(2)
    for text in ("a", "b"):
        cache.put(text, np.zeros(1, np.float32))
    assert cache.get("a") is not None
    cache.put("c", np.zeros(1, np.float32))
    assert cache.get("b") is None
    assert cache.get("a") is not None


def test_scales_are_clipped() -> None:
    scale = Scale(unrelated=0.1, same=0.6)
    assert [scale.apply(cosine) for cosine in (-1.0, 0.1, 0.35, 0.6, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])


def test_rare_words_weigh_more_and_unknown_ones_are_counted() -> None:
    statistics = Statistics(1000, {"@delivery": 400, "@sentosa": 3})
    common, rare, unknown = (Unit(word, (), (f"@{word}",)) for word in ("delivery", "sentosa", "flowers"))
    assert statistics.weight(common) < statistics.weight(rare) < statistics.weight(unknown) <= 1.0
    question = Question((common, rare, unknown), "")
    served = features(question, statistics, Evidence(frozenset({"@sentosa"}), frozenset(), 0.5, 1.0))
    assert 0 < served[2] < 1
    assert 0 < served[5] < 1
    better = features(question, statistics, Evidence(frozenset({"@sentosa", "@delivery"}), frozenset(), 0.5, 1.0))
    assert probability(better, HYBRID) > probability(served, HYBRID)


def test_a_question_without_units_has_no_coverage() -> None:
    empty = features(Question((), ""), Statistics(10, {}), Evidence(frozenset(), frozenset(), None, 1.0))
    assert empty == (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0)
    assert probability(empty, HYBRID) < HYBRID.threshold


def test_english_is_the_second_best_language() -> None:
    assert language_fit("zh", "zh") > language_fit("zh", "en") > language_fit("zh", "ms")
