"""Every failure of the openai SDK and of the HTTP libraries below it, told as a `ModelError`: the one place that does.

Imported by `openai_stream.open_stream` only, because importing openai costs 1.4 s of CPU and 51 MB.
"""

from __future__ import annotations

import aiohttp
import httpx2
import openai

from server.chat.completions import ModelError, reported_error
from server.chat.rate_headers import retry_after
from server.errors import Reason

# Below the SDK on purpose: once headers arrived, a broken body surfaces as a raw error of the transport.
FAILURES: tuple[type[Exception], ...] = (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError)

# Retrying can help after these although they are not 5xx: a timeout and a lock conflict on the provider's side.
_RETRYABLE_STATUS = frozenset({408, 409})
_BAD_REQUEST = 400
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


def model_error(error: Exception, *, streaming: bool) -> ModelError:
    """What `error` means; `streaming` is true once the response's headers were read."""
    if isinstance(error, openai.APIStatusError):
        return _status_error(error)
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    if isinstance(cause, httpx2.ReadTimeout | httpx2.WriteTimeout):
        return ModelError(Reason.MODEL_TIMEOUT, "the model took too long", retryable=True)
    if streaming:
        return ModelError(Reason.MODEL_STREAM_CUT, "the model's answer was cut off", retryable=True)
    # The aiohttp transport reports a refused or dropped connection as a connect timeout, so all of them end here.
    return ModelError(Reason.MODEL_UNAVAILABLE, "the model cannot be reached", retryable=True, billed=False)


def _status_error(error: openai.APIStatusError) -> ModelError:
    status = error.status_code
    reported = reported_error(error.code or error.type or "")
    if reported is not None:
        return reported
    wait = retry_after(error.response.headers)
    if status == _TOO_MANY_REQUESTS:
        message = "the model's rate limit is reached"
        return ModelError(Reason.MODEL_RATE_LIMITED, message, retryable=True, retry_after=wait, billed=False)
    if status == _BAD_REQUEST and "context length" in error.message:
        # Compatible servers say it in words and leave the code empty.
        message = "the conversation is too long for the model"
        return ModelError(Reason.MODEL_CONTEXT_EXCEEDED, message, billed=False)
    retryable = status >= _SERVER_ERROR or status in _RETRYABLE_STATUS
    message = "the model is unavailable"
    return ModelError(Reason.MODEL_UNAVAILABLE, message, retryable=retryable, retry_after=wait, billed=False)
