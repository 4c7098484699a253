"""The provider's embeddings through the real SDK, against a real HTTP server."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from llmock.pytest_plugin import LLMock

from server.knowledge.embedding import EmbeddingFailed, openai_embedder


async def test_batches_keep_the_order_and_give_unit_vectors(llmock: LLMock) -> None:
    embedder = openai_embedder("key", llmock.base_url(), "text-embedding-3-small", batch=2)
    try:
        vectors = await embedder.embed(["one", "two", "three", "four", "five"])
        again = await embedder.embed(["five", "one"])
        assert vectors.shape == (5, embedder.dimensions)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
        assert np.allclose(again, vectors[[4, 0]], atol=1e-5)
        assert (await embedder.embed_query("one")) is (await embedder.embed_query("one"))
    finally:
        await embedder.close()


async def test_personal_data_does_not_travel(llmock: LLMock) -> None:
    embedder = openai_embedder("key", llmock.base_url(), "text-embedding-3-small")
    await embedder.embed_query("call 91234567 about lids")
    await embedder.embed(["write to lee.canary@mail.example"])
    await embedder.close()
    sent = str([request.body for request in llmock.requests])
    assert "about lids" in sent
    assert "91234567" not in sent
    assert "lee.canary" not in sent


async def test_a_refused_key_is_permanent_and_an_absent_server_is_not(llmock: LLMock) -> None:
    llmock.fail(status=401, times=3)
    refused = openai_embedder("key", llmock.base_url(), "text-embedding-3-small")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        absent = openai_embedder("key", f"http://127.0.0.1:{closed.getsockname()[1]}/v1", "text-embedding-3-small")
        for embedder, permanent in ((refused, True), (absent, False)):
            with pytest.raises(EmbeddingFailed) as caught:
                await embedder.embed(["text"])
            assert caught.value.permanent is permanent
            await embedder.close()
