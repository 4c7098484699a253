"""The turn loop of one answer: call the model, run the tools it asks for, release its words through the filter."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from server.chat import prompts
from server.chat.agent_tools import DEFINITIONS, LABELS, BadToolCallError, ToolCall, ToolCalls, checked, run
from server.chat.assistant import Answered, AnswerKind, Delta, Event, Product, Step, Tools, ToolUsed, Turn, Waiting
from server.chat.completions import Finish, ModelCall, ModelError, ModelEvent, TextDelta, ToolCallDelta
from server.chat.evidence import Evidence, as_json
from server.chat.intents import IntentResult
from server.chat.markers import CanaryLeakedError, MarkerFilter, Released
from server.chat.metering import UsageMeter
from server.chat.model import GuardedModel
from server.errors import AppError, Reason
from server.knowledge.passages import SearchResult

log = logging.getLogger(__name__)

# Confidence in an answer that cites nothing and names no price: someone should look at it.
_UNSUPPORTED = 0.3


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """Bounds of one answer. `max_turns` counts model calls, of which all but the first follow a tool call;
    `max_tokens` is what all calls together may use before no further tool is offered; `deadline` is absolute on the
    running loop's clock."""

    max_turns: int
    max_output_tokens: int
    max_tokens: int
    deadline: float


class Answering:
    """One answer in the making; used once."""

    def __init__(self, model: GuardedModel, tools: Tools, meter: UsageMeter, limits: AnswerLimits, canary: str) -> None:
        self._model = model
        self._tools = tools
        self._meter = meter
        self._limits = limits
        self._canary = canary
        self._evidence = Evidence()
        self._filter = MarkerFilter(self._evidence, canary)
        self._visible = False
        self._finish = ""
        self._tenant = ""

    async def events(
        self, turn: Turn, intent: IntentResult, found: SearchResult, products: Sequence[Product]
    ) -> AsyncGenerator[Event, None]:
        """The answer's events up to its `Answered`. Raises `ModelError`; what was held back is released before."""
        self._tenant = turn.asker.tenant
        passages = self._evidence.add_passages(found.passages if found.confident else ())
        shown = self._evidence.add_products(products)
        messages = prompts.messages(turn, intent.language, self._canary, passages, shown)
        try:
            async with aclosing(self._turns(messages)) as events:
                async for event in events:
                    yield event
        except CanaryLeakedError:
            log.warning("the model began to recite its instructions; the answer was stopped")
            if not self._visible:
                yield Delta(prompts.REFUSAL[intent.language])
            yield self._answered(intent, AnswerKind.REFUSED)
            return
        except ModelError:
            # What the customer has read stays, so the rest of what the model really said belongs to it.
            if self._visible:
                for event in self._shown(self._filter.finish()):
                    yield event
            raise
        for event in self._ending():
            yield event
        yield self._answered(intent, AnswerKind.ABSTAINED if self._filter.abstained else AnswerKind.ANSWERED)

    async def _turns(self, messages: list[dict[str, object]]) -> AsyncGenerator[Event, None]:
        for number in range(1, self._limits.max_turns + 1):
            calls = ToolCalls()
            async with aclosing(self._model.events(self._call(messages, number), self._meter)) as events:
                async for event in events:
                    for told in self._heard(event, calls):
                        yield told
            if not calls.calls:
                return
            messages.append(calls.as_message())
            for call in calls.calls.values():
                async for step in self._run(call, messages):
                    yield step

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
        spent = self._meter.settle()
        used = spent.input_tokens + spent.output_tokens
        last = number == self._limits.max_turns or used >= self._limits.max_tokens
        return ModelCall(
            messages=tuple(messages),
            deadline=self._limits.deadline,
            max_output_tokens=self._limits.max_output_tokens,
            tools=() if last else DEFINITIONS,
            tenant=self._tenant,
        )

    async def _run(self, call: ToolCall, messages: list[dict[str, object]]) -> AsyncGenerator[Event, None]:
        try:
            tool, query = checked(call)
        except BadToolCallError as error:
            result = as_json({"error": str(error)})
            log.info("the model made a bad tool call: %s", error)
        else:
            label = LABELS[tool]
            yield Step(label)
            yield ToolUsed(call.call_id, tool, "STARTED", label)
            try:
                result = await run(tool, query, self._tools, self._evidence)
            except AppError:
                yield ToolUsed(call.call_id, tool, "FAILED", label)
                raise
            yield ToolUsed(call.call_id, tool, "SUCCEEDED", label)
        messages.append({"role": "tool", "tool_call_id": call.call_id, "content": result})

    def _shown(self, released: Released) -> list[Event]:
        events: list[Event] = []
        if released.text:
            self._visible = True
            events.append(Delta(released.text))
        events.extend(released.cited)
        return events

    def _ending(self) -> list[Event]:
        events = self._shown(self._filter.finish())
        if not self._visible:
            raise ModelError(Reason.MODEL_OUTPUT_INVALID, "the model gave no answer")
        if self._finish == "length":
            # Our own limit cut it: said with the mark for it rather than passed off as the whole answer.
            events.append(Delta(" …"))
        return events

    def _answered(self, intent: IntentResult, kind: AnswerKind) -> Answered:
        if self._filter.invented:
            log.warning("markers that name nothing retrieved were removed: %d", self._filter.invented)
        support = [cited.passage.score for cited in self._filter.cited.values()]
        if self._filter.prices:
            support.append(self._evidence.best_product_score())
        confidence = min(intent.confidence, max(support, default=_UNSUPPORTED))
        return Answered(kind, intent.intent, confidence, intent.language, self._meter.settle())
