"""The turn loop of one answer: call the model, run the tools it asks for, release its words through the filter."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from server.chat import prompts
from server.chat.agent_tools import DEFINITIONS, LABELS, BadToolCallError, ToolCall, ToolCalls, checked, run
from server.chat.assistant import (
    Answered,
    AnswerKind,
    Asker,
    Cited,
    Delta,
    Event,
    Product,
    Step,
    Tools,
    ToolUsed,
    Turn,
    Waiting,
)
from server.chat.completions import Finish, ModelCall, ModelError, ModelEvent, TextDelta, ToolCallDelta
from server.chat.decision import Grounds, Suspected
from server.chat.discreet import Discretion, holds_card
from server.chat.evidence import Evidence
from server.chat.fencing import Fence
from server.chat.intents import IntentResult
from server.chat.markers import CanaryLeakedError, MarkerFilter, Released
from server.chat.metering import UsageMeter
from server.chat.model import Model
from server.chat.output_guard import LeakedError, OutputGuard
from server.chat.suspicion import Source, Suspicion
from server.errors import AppError, Reason
from server.knowledge.passages import SearchResult

log = logging.getLogger(__name__)

# What one call may send, per token that it was allowed: characters, and one for each event. A model that keeps to its
# limit stays far below; the rest is not read.
_FLOOD = 16
_SHORTEST_FLOOD = 4096
# Confidence in an answer that cites nothing and names no price: someone should look at it.
_UNSUPPORTED = 0.3


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """Bounds of one answer. `max_turns` counts model calls, of which all but the first follow a tool call;
    `max_tokens` is what all calls together may use before no further tool is offered; `deadline` is absolute on the
    running loop's clock. `max_cost_micros` is the money after which no further call is made (0: no bound), `tools`
    whether any are offered."""

    max_turns: int
    max_output_tokens: int
    max_tokens: int
    deadline: float
    max_cost_micros: int = 0
    tools: bool = True


class Answering:
    """One answer in the making; used once."""

    def __init__(
        self, model: Model, tools: Tools, meter: UsageMeter, limits: AnswerLimits, canary: str, asker: Asker
    ) -> None:
        self._model = model
        self._tools = tools
        self._meter = meter
        self._limits = limits
        self._canary = canary
        self._asker = asker
        self._evidence = Evidence()
        self._discretion = Discretion()
        self._fence = Fence()
        self._filter = MarkerFilter(self._evidence, canary)
        self._guard = OutputGuard(self._evidence.allowed, prompts.echo(canary, self._fence, asker.arm))
        self._to_cite: list[Cited] = []
        self._visible = False
        self._finish = ""
        self._refused_calls = 0

    async def events(
        self, turn: Turn, intent: IntentResult, found: SearchResult, products: Sequence[Product]
    ) -> AsyncGenerator[Event, None]:
        """The answer's events up to its `Answered`. Raises `ModelError`; what was held back is released before."""
        passages = self._evidence.add_passages(found.passages if found.confident else ())
        shown = self._evidence.add_products(products)
        if not turn.wary:
            self._evidence.allowed.customer(turn.text)
        messages = prompts.messages(turn, intent.language, self._canary, passages, shown, self._discretion, self._fence)
        yield self._grounds()
        try:
            async with aclosing(self._turns(messages)) as events:
                async for event in events:
                    yield event
            for event in self._ending():
                yield event
        except (CanaryLeakedError, LeakedError) as leak:
            for event in self._refusing(intent, leak):
                yield event
            return
        except ModelError:
            for event in self._rest():
                yield event
            raise
        yield self._grounds()
        if self._guard.removed:
            yield _suspected(0.5, *sorted(self._guard.removed))
        if holds_card(turn.text):
            yield Delta("\n\n" + prompts.CARD_NOTICE[intent.language])
        yield self._answered(intent, AnswerKind.ABSTAINED if self._filter.abstained else AnswerKind.ANSWERED)

    async def _turns(self, messages: list[dict[str, object]]) -> AsyncGenerator[Event, None]:
        for number in range(1, self._limits.max_turns + 1):
            calls = ToolCalls()
            said = bounded(self._model.events(self._call(messages, number), self._meter), self._limits)
            async with aclosing(self._discretion.restored(said)) as events:
                async for event in events:
                    for told in self._heard(event, calls):
                        yield told
            if not calls.calls or number == self._limits.max_turns:
                return
            messages.append(calls.as_message())
            for call in calls.calls.values():
                async for step in self._run(call, messages):
                    yield step
            yield self._grounds()

    def _heard(self, event: ModelEvent, calls: ToolCalls) -> list[Event]:
        """What of the model's event is told on."""
        if isinstance(event, TextDelta):
            return self._shown(self._filter.feed(event.text))
        if isinstance(event, ToolCallDelta):
            calls.add(event)
        elif isinstance(event, Finish):
            self._finish = event.reason
        return [event] if isinstance(event, Waiting) else []

    def _call(self, messages: list[dict[str, object]], number: int) -> ModelCall:
        # The last turn has no tools, nor has one after the budget: it can only answer.
        limits = self._limits
        spent = self._meter.settle()
        if limits.max_cost_micros and spent.cost_micros >= limits.max_cost_micros:
            raise ModelError(Reason.BUDGET_EXCEEDED, "the answer would cost too much", billed=False)
        used = spent.input_tokens + spent.output_tokens
        last = number == limits.max_turns or used >= limits.max_tokens
        return ModelCall(
            messages=tuple(messages),
            deadline=limits.deadline,
            max_output_tokens=limits.max_output_tokens,
            tools=DEFINITIONS if limits.tools and not last else (),
            tenant=self._asker.tenant,
        )

    async def _run(self, call: ToolCall, messages: list[dict[str, object]]) -> AsyncGenerator[Event, None]:
        result: object
        try:
            tool, query = checked(call, self._discretion, offered=self._limits.tools)
        except BadToolCallError as error:
            self._refused_calls += 1
            result = {"error": str(error)}
            log.info("the model made a bad tool call: %s", error)
        else:
            label = LABELS[tool]
            yield Step(label)
            yield ToolUsed(call.call_id, tool, "STARTED", label)
            try:
                result = await run(tool, query, self._tools, self._evidence, self._discretion)
            except AppError:
                yield ToolUsed(call.call_id, tool, "FAILED", label)
                raise
            yield ToolUsed(call.call_id, tool, "SUCCEEDED", label)
        content = self._fence.around("result", result)
        messages.append({"role": "tool", "tool_call_id": call.call_id, "content": content})

    def _shown(self, released: Released) -> list[Event]:
        self._to_cite.extend(released.cited)
        return self._told(self._guard.feed(released.text))

    def _told(self, text: str) -> list[Event]:
        """The text with the citations whose numbers are in it."""
        if not text:
            return []
        self._visible = True
        events: list[Event] = [Delta(text)]
        events.extend(cited for cited in self._to_cite if f"[{cited.index}]" in text)
        self._to_cite = [cited for cited in self._to_cite if f"[{cited.index}]" not in text]
        return events

    def _rest(self) -> list[Event]:
        """What was held back when the model failed: it belongs to an answer of which something was read already."""
        if not self._visible:
            return []
        try:
            return [*self._shown(self._filter.finish()), *self._told(self._guard.finish())]
        except (CanaryLeakedError, LeakedError):
            return []

    def _ending(self) -> list[Event]:
        events = [*self._shown(self._filter.finish()), *self._told(self._guard.finish())]
        if not self._visible:
            raise ModelError(Reason.MODEL_OUTPUT_INVALID, "the model gave no answer")
        if self._finish == "length":
            # A limit cut it: said with the mark for it rather than passed off as the whole answer.
            events.append(Delta(" …"))
        return events

    def _refusing(self, intent: IntentResult, leak: Exception) -> list[Event]:
        what = leak.what if isinstance(leak, LeakedError) else "prompt"
        log.warning("an answer was stopped by an output check: %s", what)
        gap = "\n\n" if self._visible else ""
        return [
            self._grounds(),
            _suspected(1.0, what),
            Delta(gap + prompts.REFUSAL[intent.language]),
            self._answered(intent, AnswerKind.REFUSED),
        ]

    def _grounds(self) -> Grounds:
        limits = self._limits
        return Grounds(
            prompts.version(self._asker.arm),
            self._model.name,
            {"max_output_tokens": limits.max_output_tokens, "max_turns": limits.max_turns, "tools": int(limits.tools)},
            self._evidence.chunks(),
            self._refused_calls,
            sum(self._guard.removed.values()),
            self._filter.invented,
        )

    def _answered(self, intent: IntentResult, kind: AnswerKind) -> Answered:
        if self._filter.invented:
            log.warning("markers that name nothing retrieved were removed: %d", self._filter.invented)
        support = [cited.passage.score for cited in self._filter.cited.values()]
        if self._filter.prices:
            support.append(self._evidence.best_product_score())
        confidence = min(intent.confidence, max(support, default=_UNSUPPORTED))
        return Answered(kind, intent.intent, confidence, intent.language, self._meter.settle())


async def bounded(events: AsyncGenerator[ModelEvent, None], limits: AnswerLimits) -> AsyncGenerator[ModelEvent, None]:
    """The events of one call up to what a call may send: past it words end as if the model had stopped for length, and
    a tool call is no call any more."""
    left = max(limits.max_output_tokens * _FLOOD, _SHORTEST_FLOOD)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TextDelta):
                event.text = event.text[:left]  # one network read may bring more than was allowed
                left -= len(event.text) + 1
            elif isinstance(event, ToolCallDelta):
                left -= len(event.arguments) + len(event.name) + len(event.call_id) + 1
                if left < 0:
                    raise ModelError(Reason.MODEL_OUTPUT_INVALID, "the model asked for too much")
            yield event
            if left < 0:
                yield Finish("length")
                return


def _suspected(score: float, *checks: str) -> Suspected:
    return Suspected(Source.ANSWER, Suspicion(score, tuple(f"output {check}" for check in checks)))
