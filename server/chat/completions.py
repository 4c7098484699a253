"""What a streamed chat completion is made of: the call, its events, its failure. No network and no SDK in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.chat.assistant import Waiting
from server.errors import Code, Reason


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One request to the model. `messages` and `tools` are in Chat Completions form; `deadline` is on the running
    loop's clock (seconds, absolute). There is no field for a user id on purpose: nothing personal leaves by
    one; `tenant` is for fairness between those who wait, and is not sent."""

    messages: Sequence[Mapping[str, object]]
    deadline: float
    max_output_tokens: int
    tools: Sequence[Mapping[str, object]] = ()
    tenant: str = ""


# The events are not frozen: a frozen dataclass costs three times as much to make, and these are made per token.
@dataclass(slots=True)
class TextDelta:
    """A piece of the answer; everything that one network read brought is one piece."""

    text: str


@dataclass(slots=True)
class ToolCallDelta:
    """A fragment of tool call number `index`; `call_id` and `name` come once, `arguments` are to be concatenated."""

    index: int
    call_id: str
    name: str
    arguments: str


@dataclass(slots=True)
class Finish:
    """The model's own end: "stop", "length", "tool_calls" or "content_filter"."""

    reason: str


@dataclass(slots=True)
class UsageReport:
    """Tokens as the provider counted them; cached input is part of input, reasoning is part of output."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int


ModelEvent = TextDelta | ToolCallDelta | Finish | UsageReport | Waiting

_CODES = {
    Reason.MODEL_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.MODEL_RATE_LIMITED: Code.RESOURCE_EXHAUSTED,
    Reason.MODEL_TIMEOUT: Code.DEADLINE_EXCEEDED,
    Reason.MODEL_STREAM_CUT: Code.UNAVAILABLE,
    Reason.MODEL_OUTPUT_INVALID: Code.UNAVAILABLE,
    Reason.MODEL_REFUSED: Code.FAILED_PRECONDITION,
    Reason.MODEL_CONTEXT_EXCEEDED: Code.FAILED_PRECONDITION,
    Reason.BUDGET_EXCEEDED: Code.RESOURCE_EXHAUSTED,
}
_PROVIDER_FAULTS = frozenset(
    {Reason.MODEL_UNAVAILABLE, Reason.MODEL_TIMEOUT, Reason.MODEL_STREAM_CUT, Reason.MODEL_OUTPUT_INVALID}
)


class ModelError(Exception):
    """One call to the model failed.

    `retryable` says that the same call may work a little later; `retry_after` (seconds) is how long the provider
    asked us to wait; `billed` says that the provider may charge for the attempt all the same. The message is for
    the caller: it names nothing of the provider.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        billed: bool = True,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after
        self.billed = billed

    @property
    def code(self) -> Code:
        return _CODES[self.reason]

    @property
    def provider_fault(self) -> bool:
        """Whether this counts against the provider's health: a refusal or a rate limit is the answer of one alive."""
        return self.reason in _PROVIDER_FAULTS


class ChunkReader:
    """Payloads of one streamed completion to events, and the judgement whether the stream was whole.

    The SDK accepts a stream that simply stops as a full answer; here an end without a finish reason is a cut.
    """

    __slots__ = ("_problem", "done", "finish")

    def __init__(self) -> None:
        self.done = False
        self.finish = ""
        self._problem: ModelError | None = None

    def read(self, payloads: Sequence[bytes]) -> list[ModelEvent]:
        """The events of these payloads; adjacent text is joined. What came before something that is no chunk is given
        first: then `check` raises for it, else this does. Raises ModelError."""
        events: list[ModelEvent] = []
        try:
            self._read(payloads, events)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            message = "the model sent a malformed chunk"
            self._problem = ModelError(Reason.MODEL_OUTPUT_INVALID, message, retryable=True)
            self._problem.__cause__ = error
        except ModelError as problem:
            self._problem = problem
        if not events:
            self.check()
        return events

    def check(self) -> None:
        """Raises what is wrong with the payloads that were read last."""
        if self._problem is not None:
            raise self._problem

    def close(self) -> None:
        """Raises ModelError unless the stream came to an end that the model meant."""
        self.check()
        if not self.finish:
            message = "the model's answer was cut off"
            raise ModelError(Reason.MODEL_STREAM_CUT, message, retryable=True)
        if self.finish == "content_filter":
            raise ModelError(Reason.MODEL_REFUSED, "the model refused to answer")

    def _read(self, payloads: Sequence[bytes], events: list[ModelEvent]) -> None:
        text: list[str] = []
        try:
            for payload in payloads:
                if payload == b"[DONE]":
                    self.done = True
                    break
                chunk = orjson.loads(payload)
                if "error" in chunk:
                    raise _told_error(chunk["error"])
                self._choices(chunk["choices"], text, events)
                if chunk.get("usage"):
                    _flush(text, events)
                    events.append(_usage(chunk["usage"]))
        finally:
            _flush(text, events)

    def _choices(self, choices: list[dict[str, Any]], text: list[str], events: list[ModelEvent]) -> None:
        for choice in choices:
            if choice.get("index"):  # one answer was asked for; a second choice is not ours
                continue
            delta = choice.get("delta") or {}
            # A refusal is the model's own words to the customer and is shown like any answer.
            content = delta.get("content") or delta.get("refusal")
            if content:
                text.append(content)
            for call in delta.get("tool_calls") or ():
                _flush(text, events)
                function = call.get("function") or {}
                events.append(
                    ToolCallDelta(
                        int(call.get("index") or 0),
                        _text(call.get("id")),
                        _text(function.get("name")),
                        _text(function.get("arguments")),
                    )
                )
            reason = choice.get("finish_reason")
            if reason and not self.finish:
                _flush(text, events)
                self.finish = reason
                events.append(Finish(reason))


def _flush(text: list[str], events: list[ModelEvent]) -> None:
    if text:
        events.append(TextDelta("".join(text)))
        text.clear()


def _text(value: object) -> str:
    if not isinstance(value, str | None):
        raise TypeError
    return value or ""


def _usage(usage: dict[str, Any]) -> UsageReport:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return UsageReport(
        input_tokens=int(usage["prompt_tokens"]),
        cached_input_tokens=int(prompt.get("cached_tokens") or 0),
        output_tokens=int(usage["completion_tokens"]),
        reasoning_tokens=int(completion.get("reasoning_tokens") or 0),
    )


def _told_error(error: object) -> ModelError:
    """A failure that the provider reports inside the stream, after it answered 200."""
    code = str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""
    return reported_error(code) or ModelError(
        Reason.MODEL_UNAVAILABLE, "the model failed while answering", retryable=True
    )


def reported_error(code: str) -> ModelError | None:
    """The failure behind a provider's error code, or None for one that says nothing special."""
    if code == "context_length_exceeded":
        message = "the conversation is too long for the model"
        return ModelError(Reason.MODEL_CONTEXT_EXCEEDED, message, billed=False)
    if code in {"content_filter", "content_policy_violation"}:
        return ModelError(Reason.MODEL_REFUSED, "the model refused to answer", billed=False)
    if code == "insufficient_quota":
        # The account has no money left: waiting a second does not help.
        return ModelError(Reason.MODEL_RATE_LIMITED, "the model's quota is used up", billed=False)
    return None
