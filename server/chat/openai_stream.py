"""One streamed Chat Completions call, read as bytes.

The SDK owns authentication, TLS and the request; the body is parsed here, once: the SDK's typed chunks cost four times
as much CPU when tokens come one by one and twenty times in a burst (tests/performance/bench_relay.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from server.chat.completions import ChunkReader, ModelCall, ModelError, ModelEvent
from server.chat.rate_headers import RateHeaders, rate_headers
from server.chat.sse_decoder import EventTooLargeError, SseDecoder
from server.errors import Reason

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from openai import AsyncOpenAI
    from openai._response import AsyncAPIResponse

# How long, in seconds, the end of a finished body may take: reading it to the end keeps the connection usable.
_DRAIN_TIMEOUT = 0.25


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Where the model is and how it is called; times are seconds.

    `model` is a name that the provider retires sooner or later, so it is never a constant in code.
    `max_tokens_field` is "max_tokens" for compatible servers that do not know the newer name; `temperature` None
    leaves it out, as reasoning models demand. `prompt_cache_key` groups calls with the same prompt prefix for the
    provider's cache: the prompt's version, never anything of a person. `first_byte_timeout` bounds the wait for the
    first event, `idle_timeout` every later silence.
    """

    model: str
    api_key: str = field(repr=False)
    base_url: str = "https://api.openai.com/v1"
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    temperature: float | None = None
    prompt_cache_key: str | None = None
    connect_timeout: float = 5.0
    first_byte_timeout: float = 20.0
    idle_timeout: float = 10.0
    max_connections: int = 200


def _ignore_rate(_: RateHeaders) -> None:
    """For callers that have no governor to tell."""


class OpenAIStream:
    """Streams completions of one model over one connection pool; made by `open_stream`, closed by `aclose`."""

    def __init__(
        self,
        client: AsyncOpenAI,
        settings: ModelSettings,
        failures: tuple[type[Exception], ...],
        to_model_error: Callable[..., ModelError],
        on_rate: Callable[[RateHeaders], None] = _ignore_rate,
    ) -> None:
        self._client = client
        self._settings = settings
        self._failures = failures
        self._to_model_error = to_model_error
        self._on_rate = on_rate

    @property
    def model(self) -> str:
        return self._settings.model

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connection pool."""
        await self._client.close()

    async def events(self, call: ModelCall) -> AsyncGenerator[ModelEvent, None]:
        """The events of one call. Raises `ModelError`, and nothing else, when the call fails.

        Closing the generator (or cancelling its reader) closes the upstream connection, which stops generation.
        """
        reader = ChunkReader()
        streaming = False
        try:
            async with AsyncExitStack() as stack:
                async with self._within(self._settings.first_byte_timeout, call):
                    response = await stack.enter_async_context(self._request(call))
                streaming = True
                self._report(response)
                chunks = cast("AsyncGenerator[bytes, None]", response.iter_bytes())
                body = await stack.enter_async_context(aclosing(chunks))
                decoder = SseDecoder()
                # Headers may come at once and the first token much later: that wait is still the first one.
                patience = self._settings.first_byte_timeout
                while not reader.done:
                    async with self._within(patience, call):
                        chunk = await anext(body, None)
                    if chunk is None:
                        break
                    for event in reader.read(decoder.feed(chunk)):
                        patience = self._settings.idle_timeout
                        yield event
                    reader.check()
                await _drain(body)
        except TimeoutError as error:
            if not reader.finish:
                message = "the model took too long"
                raise ModelError(Reason.MODEL_TIMEOUT, message, retryable=True) from error
        except EventTooLargeError as error:
            raise ModelError(Reason.MODEL_OUTPUT_INVALID, "the model sent an oversized chunk") from error
        except self._failures as error:
            # After the finish reason the answer is whole: a connection lost then costs only the usage report.
            if not reader.finish:
                raise self._to_model_error(error, streaming=streaming) from error
        reader.close()

    def _within(self, seconds: float, call: ModelCall) -> asyncio.Timeout:
        """A timeout for one wait, which never outlasts the call's deadline.

        The HTTP library's read timeout is silence only and a trickle never trips it; this bounds both.
        """
        return asyncio.timeout_at(min(asyncio.get_running_loop().time() + seconds, call.deadline))

    def _request(self, call: ModelCall) -> AbstractAsyncContextManager[AsyncAPIResponse[Any]]:
        settings = self._settings
        options: dict[str, Any] = {
            "model": settings.model,
            "messages": call.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            settings.max_tokens_field: call.max_output_tokens,
        }
        if settings.temperature is not None:
            options["temperature"] = settings.temperature
        if settings.prompt_cache_key is not None:
            options["prompt_cache_key"] = settings.prompt_cache_key
        if call.tools:
            options["tools"] = call.tools
        return self._client.chat.completions.with_streaming_response.create(**options)

    def _report(self, response: AsyncAPIResponse[Any]) -> None:
        rate = rate_headers(response.headers)
        if rate is not None:
            self._on_rate(rate)


async def _drain(body: AsyncGenerator[bytes, None]) -> None:
    try:
        async with asyncio.timeout(_DRAIN_TIMEOUT):
            async for _ in body:
                pass
    except TimeoutError:
        return  # The connection is closed instead of reused; the answer is whole.


def open_stream(settings: ModelSettings, on_rate: Callable[[RateHeaders], None] = _ignore_rate) -> OpenAIStream:
    """Imports the SDK and opens its client; one per process, because a client builds TLS contexts (0.2 s)."""
    # Imported here: 1.4 s of CPU and 51 MB that a server with the offline assistant never pays.
    import httpx2  # noqa: PLC0415
    from openai import AsyncOpenAI, DefaultAioHttpClient  # noqa: PLC0415

    from server.chat import openai_errors  # noqa: PLC0415

    limits = httpx2.Limits(max_connections=settings.max_connections, max_keepalive_connections=settings.max_connections)
    # `read` is only a second line behind `_within`, for a wait that it does not cover (closing a connection).
    slack = settings.first_byte_timeout + settings.idle_timeout
    timeout = httpx2.Timeout(slack, connect=settings.connect_timeout, pool=settings.first_byte_timeout)
    client = AsyncOpenAI(
        api_key=settings.api_key,
        base_url=settings.base_url,
        timeout=timeout,
        max_retries=0,  # retries are ours (retry.py): the SDK's would multiply the deadline
        http_client=DefaultAioHttpClient(limits=limits, timeout=timeout),
    )
    return OpenAIStream(client, settings, openai_errors.FAILURES, openai_errors.model_error, on_rate)
