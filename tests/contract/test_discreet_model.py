"""What a model outside is told of people: nothing. And what the customer reads: everything.

The model is llmock over HTTP, so what is looked at is what would have left this machine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmock.pytest_plugin import LLMock

from server.chat.agent import AgentSettings, OpenAIAssistant
from server.chat.assistant import Delta, Event, Intent, Language, OrderSummary, ToolUsed, Turn
from server.chat.completions import Finish, ModelCall, ModelError, ModelEvent, TextDelta
from server.chat.discreet import Discretion, check
from server.chat.intents import IntentResult
from server.chat.prompts import CARD_NOTICE
from server.chat.understanding import Understand
from server.errors import Reason
from tests.support.llmock import (
    BOX,
    OFFLINE_TEXT,
    PRICES,
    DeskTools,
    OneLineAssistant,
    desk,
    passage,
    policy_question,
)
from tests.unit.pii.test_stream import FRAGMENTS, pieces, without_cards

# One canary per place that a prompt is made of.
MESSAGE = ("lee.message@mail.example", "91230001", "S1234567D")
HISTORY = ("tan.history@mail.example", "+65 9123 0002")
DOCUMENT = ("desk.document@mail.example", "+65 6123 0003")
PRODUCT = ("artist.product@mail.example",)
OUTLET = ("owner.outlet@mail.example",)
ORDER = ("buyer.order@mail.example",)
CARD = "4111 1111 1111 1111"
TURN = Turn(
    f"I am at {MESSAGE[0]} or {MESSAGE[1]}, IC {MESSAGE[2]}. When do you deliver?",
    history=(("user", f"My mail is {HISTORY[0]}"), ("assistant", f"Noted, {HISTORY[0]}. We call {HISTORY[1]} [1].")),
    outlet_name=f"Pizza {OUTLET[0]}",
)
HOTLINE = passage(f"Deliveries leave at 14:00. Ask {DOCUMENT[0]} or call {DOCUMENT[1]} for the driver.")
PRINTED = replace(BOX, name=f"Box printed for {PRODUCT[0]}", names={"ms": f"Kotak {PRODUCT[0]}"})
PLACED = OrderSummary("orders/1", f"SO for {ORDER[0]}", "CONFIRMED", Decimal("12.50"), "SGD", "2026-01-05")


def tools() -> DeskTools:
    return DeskTools([HOTLINE], [PRINTED], [PLACED])


def sent(llmock: LLMock) -> str:
    return json.dumps([request.body for request in llmock.requests], ensure_ascii=False)


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


async def ask(llmock: LLMock, turn: Turn, found: DeskTools) -> list[Event]:
    async with desk(llmock.base_url()) as at:
        return [event async for event in at.assistant.reply(turn, found)]


async def test_no_part_of_a_prompt_holds_what_is_personal(llmock: LLMock) -> None:
    llmock.call_tool("search_products", {"query": "box"}).call_tool("order_status", {}).reply("At two [1].")
    await ask(llmock, TURN, tools())
    body = sent(llmock)
    assert len(llmock.requests) == 3
    assert "When do you deliver" in body
    assert "Box printed for" in body
    assert "SO for" in body
    planted = (*MESSAGE, *HISTORY, *DOCUMENT, *PRODUCT, *OUTLET, *ORDER)
    assert [value for value in planted if value in body] == []


async def test_the_supplier_s_own_contacts_reach_the_customer(llmock: LLMock) -> None:
    llmock.reply("Call ⟦PHONE_1⟧ or write to ⟦email 1⟧ [1].")
    events = await ask(llmock, Turn("Until when can I order?"), tools())
    assert not [contact for contact in DOCUMENT if contact in sent(llmock)]
    assert text_of(events) == f"Call {DOCUMENT[1]} or write to {DOCUMENT[0]} [1]."


async def test_arguments_of_tools_are_restored_in_their_json(llmock: LLMock) -> None:
    query = 'boxes for "⟦EMAIL_1⟧"\nand ⟦phone 1⟧'
    llmock.call_tool("search_products", {"query": query}).reply("Here [1].")
    found = tools()
    events = await ask(llmock, Turn(f"{MESSAGE[0]} {MESSAGE[1]} asks: until when can I order?"), found)
    assert found.queries[-1] == f'boxes for "{MESSAGE[0]}"\nand {MESSAGE[1]}'
    assert [event.state for event in events if isinstance(event, ToolUsed)] == ["STARTED", "SUCCEEDED"]
    body = sent(llmock)
    assert not [value for value in MESSAGE[:2] if value in body]


def test_types_in_tool_arguments_survive() -> None:
    discretion = Discretion()
    hidden = discretion.hide({"mail": "a@example.com", "n": 3, "deep": [{"hp": "hp 91234567"}, None, True, 1.5]})
    assert "example.com" not in str(hidden)
    parsed: Any = json.loads(json.dumps(hidden))
    assert discretion.show(parsed) == {
        "mail": "a@example.com",
        "n": 3,
        "deep": [{"hp": "hp 91234567"}, None, True, 1.5],
    }


@pytest.mark.parametrize("language", list(Language))
async def test_a_card_number_is_told_to_nobody_and_said_so(llmock: LLMock, language: Language) -> None:
    asked = {Language.EN: "when do you deliver", Language.ZH: "什么时候送货", Language.MS: "bila penghantaran"}[
        language
    ]
    llmock.reply("At two, card [CREDIT_CARD] and ⟦CREDIT_CARD_1⟧ [1].")
    async with desk(llmock.base_url(), understand=_by_language(language)) as at:
        events = [event async for event in at.assistant.reply(Turn(f"{asked} {CARD}"), tools())]
    assert CARD not in sent(llmock)
    assert "[CREDIT_CARD]" in sent(llmock)
    said = text_of(events)
    assert CARD not in said
    assert said.endswith(CARD_NOTICE[language])


def _by_language(language: Language) -> Understand:
    async def understand(_text: str, _locale: str) -> IntentResult:
        return IntentResult(Intent.POLICY_QUESTION, 0.95, language)

    return understand


async def test_nobody_is_given_another_s_value_by_writing_a_placeholder(llmock: LLMock) -> None:
    llmock.reply("It is ⟦EMAIL_9⟧ or ⟦TEXT_1⟧ or EMAIL_7 [1].")
    events = await ask(llmock, Turn("What is ⟦EMAIL_1⟧? When do you deliver?"), tools())
    said = text_of(events)
    assert said.startswith("It is [EMAIL] or ⟦EMAIL_1⟧ or [EMAIL] ")
    assert not [value for value in (*DOCUMENT, *PRODUCT) if value in said]


async def test_two_answers_at_once_share_nothing(llmock: LLMock) -> None:
    llmock.reply("Noted, ⟦EMAIL_1⟧ [1].", times=2)
    turns = [Turn(f"{name}@mail.example asks: until when can I order?") for name in ("ann.one", "ben.two")]
    async with desk(llmock.base_url()) as at:

        async def say(turn: Turn) -> str:
            return text_of([event async for event in at.assistant.reply(turn, DeskTools())])

        said = await asyncio.gather(*(say(turn) for turn in turns))
    assert [line.split()[1] for line in said] == ["ann.one@mail.example", "ben.two@mail.example"]


def test_a_request_that_still_holds_something_is_not_sent() -> None:
    """The last look is independent: it finds what a part in front of it forgot."""
    call = ModelCall(
        [{"role": "user", "content": f'{{"note":"call {MESSAGE[1]}"}}'}], deadline=1e9, max_output_tokens=9
    )
    with pytest.raises(ModelError) as refused:
        check(call)
    assert refused.value.reason is Reason.MODEL_REFUSED
    assert not refused.value.billed
    assert MESSAGE[1] not in refused.value.message
    nested = [{"role": "assistant", "tool_calls": [{"function": {"arguments": f'{{"query":"{MESSAGE[0]}"}}'}}]}]
    with pytest.raises(ModelError):
        check(ModelCall(nested, deadline=1e9, max_output_tokens=9))
    check(ModelCall([{"role": "user", "content": "⟦PHONE_1⟧ [CREDIT_CARD] boxes"}], deadline=1e9, max_output_tokens=9))


async def test_what_the_last_look_refuses_is_answered_offline(llmock: LLMock) -> None:
    """A sentence of the fixed prompt itself is found: nothing leaves, and the customer still has an answer."""
    llmock.reply("never said")
    settings = AgentSettings()
    async with desk(llmock.base_url(), agent=settings) as at:
        leaking = replace(settings, canary=MESSAGE[0])
        assistant = OpenAIAssistant(at.assistant._model, PRICES, policy_question, OneLineAssistant(), leaking)
        events = [event async for event in assistant.reply(Turn("Until when can I order?"), tools())]
    assert text_of(events) == OFFLINE_TEXT
    assert not llmock.requests


async def _events(parts: list[str]) -> AsyncGenerator[ModelEvent, None]:
    for part in parts:
        yield TextDelta(part)
    yield Finish("stop")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30), st.lists(st.integers(0, 300), max_size=30))
def test_a_model_that_repeats_its_prompt_repeats_the_original(fragments: list[str], cuts: list[int]) -> None:
    """Whatever the text and however it is cut, the customer reads what an unscrubbed model would have said."""
    text = "".join(fragments)
    discretion = Discretion()
    hidden = discretion.hide_text(text)

    async def said() -> str:
        events = [event async for event in discretion.restored(_events(pieces(hidden, cuts)))]
        assert isinstance(events[-1], Finish)
        return "".join(event.text for event in events if isinstance(event, TextDelta))

    assert asyncio.run(said()) == without_cards(text)
