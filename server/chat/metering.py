"""What one answer has cost so far: exact where the provider reported, estimated where a stream was cut or stopped."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.chat.assistant import Usage
from server.chat.completions import ModelCall, ModelEvent, TextDelta, ToolCallDelta, UsageReport
from server.chat.pricing import PriceTable, estimate_tokens

# What the chat format adds per message, in tokens (role and separators; OpenAI's published counting recipe uses 3).
_TOKENS_PER_MESSAGE = 3


@dataclass(slots=True)
class _Attempt:
    call: ModelCall
    output: list[str] = field(default_factory=list)
    report: UsageReport | None = None
    billed: bool = True


class UsageMeter:
    """Counts the attempts of one answer. `settle` may be asked at any moment, also after a cancellation."""

    def __init__(self, prices: PriceTable, model: str) -> None:
        self._prices = prices
        self._model = model
        self._attempts: list[_Attempt] = []

    def begin(self, call: ModelCall) -> None:
        """A request leaves now; until something better is known it is taken to cost its whole prompt."""
        self._attempts.append(_Attempt(call))

    def saw(self, event: ModelEvent) -> None:
        """An event of the attempt begun last."""
        attempt = self._attempts[-1]
        if isinstance(event, TextDelta):
            attempt.output.append(event.text)
        elif isinstance(event, ToolCallDelta):
            attempt.output.append(event.name + event.arguments)
        elif isinstance(event, UsageReport):
            attempt.report = event

    def not_billed(self) -> None:
        """The attempt begun last never reached a model."""
        self._attempts[-1].billed = False

    def settle(self) -> Usage:
        """The sum of all billed attempts. `estimated` also marks a model without a price, whose cost is then 0."""
        billed = [attempt for attempt in self._attempts if attempt.billed]
        if not billed:
            return Usage(currency=self._prices.currency, model=self._model)
        reports = [attempt.report or _estimate(attempt) for attempt in billed]
        costs = [self._prices.cost_micros(self._model, report) for report in reports]
        return Usage(
            input_tokens=sum(report.input_tokens for report in reports),
            cached_input_tokens=sum(report.cached_input_tokens for report in reports),
            output_tokens=sum(report.output_tokens for report in reports),
            reasoning_tokens=sum(report.reasoning_tokens for report in reports),
            cost_micros=sum(cost or 0 for cost in costs),
            currency=self._prices.currency,
            estimated=None in costs or any(attempt.report is None for attempt in billed),
            model=self._model,
        )


def _estimate(attempt: _Attempt) -> UsageReport:
    return UsageReport(prompt_tokens(attempt.call), 0, estimate_tokens("".join(attempt.output)), 0)


def prompt_tokens(call: ModelCall) -> int:
    """About how many tokens the call sends."""
    messages = call.messages
    prompt = sum(_TOKENS_PER_MESSAGE + estimate_tokens(str(message.get("content") or "")) for message in messages)
    return prompt + sum(estimate_tokens(str(tool)) for tool in call.tools)
