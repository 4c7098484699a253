"""The offline assistant: quotes and never invents, answers every part, hands over when it should."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
import pytest_asyncio

from server.chat.assistant import (
    Answered,
    AnswerKind,
    Cited,
    Delta,
    Event,
    Intent,
    Language,
    OrderSummary,
    Product,
    Step,
    Turn,
)
from server.chat.glossing import Glossary
from server.chat.intent_head import load
from server.chat.offline import OfflineAssistant
from server.chat.replies import load_replies
from server.chat.understanding import Understanding
from server.knowledge.embedding import OnnxEmbedder
from server.knowledge.lexical import Lexicon
from server.knowledge.passages import Passage, SearchResult
from tests.support.tools import NothingToOrder


def passage(name: str, heading: str, text: str, language: str = "en", score: float = 0.9) -> Passage:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Passage(
        f"documents/{name}/chunks/0@1", f"documents/{name}", "1", name, heading, text, language, score, digest
    )


ZONES = passage(
    "delivery",
    "Delivery days and charges by zone",
    "Delivery is free for orders of SGD 150 or more; below that it costs SGD 12.\n"
    "Zone: City; Delivery days: Monday to Saturday; Zone surcharge: none\n"
    "Zone: East; Delivery days: Monday and Friday; Zone surcharge: none\n"
    "Zone: Sentosa; Delivery days: Wednesday and Saturday; Zone surcharge: SGD 18",
)
INTEREST = passage(
    "payment",
    "Late payment",
    "From the first day after the due date interest of 1.2 % per month runs. Reminders go out after 3 days.",
)
ORDERS = (
    OrderSummary("orders/a", "SO-1042", "FULFILLING", Decimal("412.5"), "SGD", "2026-11-18"),
    OrderSummary("orders/b", "SO-1031", "COMPLETED", Decimal(388), "SGD", "2026-11-11"),
)
BOX = Product(
    "PB-12",
    "Pizza box 12 inch",
    {"zh": "12寸披萨盒", "ms": "Kotak piza 12 inci"},
    unit="piece",
    pack_size=100,
    price=Decimal("0.580000"),
    currency="SGD",
    min_quantity=100,
    in_stock=True,
    category="boxes",
    score=0.95,
)


@dataclass
class Desk(NothingToOrder):
    """`Tools` over fixed rows; what a search finds is what the test put there."""

    passages: tuple[Passage, ...] = ()
    confident: bool = True
    products: tuple[Product, ...] = ()
    orders: tuple[OrderSummary, ...] = ()
    asked: list[str] = field(default_factory=list)

    async def search_knowledge(self, query: str, *, limit: int = 4) -> SearchResult:
        self.asked.append(query)
        return SearchResult(self.passages[:limit], self.confident and bool(self.passages), degraded=False)

    async def search_products(self, _query: str, *, limit: int = 5) -> Sequence[Product]:
        return self.products[:limit]

    async def recent_orders(self, *, limit: int = 3) -> Sequence[OrderSummary]:
        return self.orders[:limit]


@dataclass(frozen=True)
class Told:
    events: tuple[Event, ...]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Delta))

    @property
    def cited(self) -> list[Cited]:
        return [event for event in self.events if isinstance(event, Cited)]

    @property
    def end(self) -> Answered:
        last = self.events[-1]
        assert isinstance(last, Answered)
        assert sum(isinstance(event, Answered) for event in self.events) == 1
        return last


@pytest_asyncio.fixture(scope="module")
async def assistant() -> AsyncIterator[OfflineAssistant]:
    embedder = OnnxEmbedder()
    yield OfflineAssistant(Lexicon(), Understanding(load(), Glossary(), embedder).understand)
    await embedder.close()


async def ask(assistant: OfflineAssistant, turn: str | Turn, desk: Desk) -> Told:
    turn = turn if isinstance(turn, Turn) else Turn(turn)
    return Told(tuple([event async for event in assistant.reply(turn, desk)]))


async def test_both_parts_of_a_question_are_answered_from_the_row_that_has_them(assistant: OfflineAssistant) -> None:
    told = await ask(assistant, "When do you deliver, and what does it cost on Sentosa?", Desk((ZONES, INTEREST)))
    assert "Wednesday and Saturday" in told.text
    assert "SGD 18" in told.text
    assert "East" not in told.text
    assert told.end.kind is AnswerKind.ANSWERED
    assert told.end.intent is Intent.POLICY_QUESTION


@pytest.mark.parametrize(
    "question",
    [
        "When do you deliver?",
        "how much is delivery to Sentosa",
        "late payment got interest or not?",
        "圣淘沙送货要多少钱",
        "caj lewat bayar berapa",
    ],
)
async def test_every_quote_stands_in_its_passage_and_is_marked_right_behind(
    assistant: OfflineAssistant, question: str
) -> None:
    told = await ask(assistant, question, Desk((ZONES, INTEREST)))
    assert told.cited
    for number, cited in enumerate(told.cited, start=1):
        assert cited.index == number
        assert cited.quote in cited.passage.text
        before = "".join(e.text for e in told.events[: told.events.index(cited)] if isinstance(e, Delta))
        assert before.rstrip().endswith(f"[{number}]")
    figures = {word for word in told.text.split() if any(c.isdigit() for c in word) and not word.startswith("[")}
    sources = " ".join(cited.quote for cited in told.cited)
    assert all(figure.strip("“”.;,") in sources for figure in figures)


async def test_all_rows_that_answer_equally_are_told(assistant: OfflineAssistant) -> None:
    told = await ask(assistant, "When do you deliver?", Desk((ZONES,)))
    assert [word for word in ("City", "East", "Sentosa") if word in told.text] == ["City", "East", "Sentosa"]


async def test_a_part_without_an_answer_is_named(assistant: OfflineAssistant) -> None:
    question = "Is there interest on late payment? Which halal certificate do you hold?"
    told = await ask(assistant, question, Desk((INTEREST,)))
    assert "1.2 %" in told.text
    assert "Which halal certificate do you hold" in told.text
    assert told.end.kind is AnswerKind.ANSWERED


async def test_a_foreign_source_is_introduced_and_quoted_as_written(assistant: OfflineAssistant) -> None:
    told = await ask(assistant, "逾期付款有利息吗", Desk((INTEREST,)))
    assert told.text.startswith("这方面的资料是英文的，原文如下：“From the first day")
    assert told.end.language is Language.ZH


@pytest.mark.parametrize(
    ("question", "desk"),
    [
        ("when do you deliver?", Desk()),
        ("when do you deliver?", Desk((ZONES,), confident=False)),
        ("do you own a helicopter?", Desk((INTEREST,))),
        ("fjdksl qwop", Desk()),
    ],
)
async def test_it_says_that_it_does_not_know(assistant: OfflineAssistant, question: str, desk: Desk) -> None:
    told = await ask(assistant, question, desk)
    assert told.end.kind is AnswerKind.ABSTAINED
    assert told.end.confidence < 0.5
    assert not told.cited
    assert load_replies().offered(told.text)


async def test_prices_come_from_the_catalogue_with_their_currency(assistant: OfflineAssistant) -> None:
    desk = Desk(products=(BOX,))
    english = await ask(assistant, "how much is the 12 inch box", desk)
    assert english.text.startswith("Pizza box 12 inch (PB-12): SGD 0.58 per piece, 100 to a pack. Minimum 100 pieces.")
    chinese = await ask(assistant, "12寸披萨盒多少钱", desk)
    assert "12寸披萨盒（PB-12）：每个SGD 0.58" in chinese.text
    malay = await ask(assistant, "berapa harga kotak 12 inci", desk)
    assert "Kotak piza 12 inci (PB-12): SGD 0.58 setiap keping" in malay.text


async def test_a_product_that_hardly_fits_is_not_told_as_the_answer(assistant: OfflineAssistant) -> None:
    near = Product("X-1", "Bowl", {}, "pack", 50, Decimal(5), "SGD", 1, True, "bowls", 0.45)
    told = await ask(assistant, "price of the gold bowl", Desk(products=(near,)))
    assert told.text.startswith("I have nothing exactly like that.")
    far = Product("X-2", "Bag", {}, "pack", 50, Decimal(5), "SGD", 1, True, "bags", 0.2)
    assert (await ask(assistant, "price of the gold bowl", Desk(products=(far,)))).end.kind is AnswerKind.ABSTAINED


async def test_order_status_is_read_and_never_guessed(assistant: OfflineAssistant) -> None:
    told = await ask(assistant, "where is my order 1042?", Desk(orders=ORDERS))
    assert told.text.startswith("Order SO-1042 of 2026-11-18: being packed or on its way, total SGD 412.50.")
    assert "1031" not in told.text
    unknown = await ask(assistant, "订单9999到哪了", Desk(orders=ORDERS))
    assert unknown.text.startswith("没有查到贵店的订单9999")
    none = await ask(assistant, "mana pesanan saya", Desk())
    assert none.end.kind is AnswerKind.ABSTAINED


async def test_an_order_is_left_to_a_person_and_its_question_answered_first(assistant: OfflineAssistant) -> None:
    told = await ask(assistant, "500 trays please. When do you deliver to Sentosa?", Desk((ZONES,)))
    assert told.end.kind is AnswerKind.HANDED_OFF
    assert told.end.intent is Intent.ORDER
    assert told.text.index("Wednesday and Saturday") < told.text.index("I read this as an order.")
    changed = await ask(assistant, "cancel my order 1042", Desk(orders=ORDERS))
    assert "change to an order" in changed.text


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("a customer found a cockroach in the box", "food_safety"),
        ("盒子压扁了，太差了", "complaint"),
        ("nak cakap dengan orang", "hand_off"),
    ],
)
async def test_complaints_and_requests_for_a_person_are_handed_over(
    assistant: OfflineAssistant, text: str, reply: str
) -> None:
    told = await ask(assistant, text, Desk((ZONES,)))
    assert told.end.kind is AnswerKind.HANDED_OFF
    assert told.text == load_replies().voices[told.end.language].say(reply)


async def test_yes_to_the_offer_brings_a_person_and_no_does_not(assistant: OfflineAssistant) -> None:
    offer = load_replies().voices[Language.MS].say("abstain")
    history = (("user", "ada lif tak"), ("assistant", offer))
    accepted = await ask(assistant, Turn("ya", history), Desk())
    assert (accepted.end.kind, accepted.end.language) == (AnswerKind.HANDED_OFF, Language.MS)
    declined = await ask(assistant, Turn("tak payah", history), Desk())
    assert (declined.end.kind, declined.end.language) == (AnswerKind.ANSWERED, Language.MS)


async def test_the_third_misunderstanding_in_a_row_brings_a_person(assistant: OfflineAssistant) -> None:
    offer = load_replies().voices[Language.EN].say("abstain")
    once = (("user", "x"), ("assistant", offer))
    assert (await ask(assistant, Turn("fjdksl qwop", once), Desk())).end.kind is AnswerKind.ABSTAINED
    assert (await ask(assistant, Turn("fjdksl qwop", once * 2), Desk())).end.kind is AnswerKind.HANDED_OFF
    between = (*once, ("user", "hi"), ("assistant", "Hello!"), *once)
    assert (await ask(assistant, Turn("fjdksl qwop", between), Desk())).end.kind is AnswerKind.ABSTAINED


async def test_a_follow_up_is_searched_with_what_it_follows(assistant: OfflineAssistant) -> None:
    desk = Desk((ZONES,))
    history = (("user", "how much is delivery to the city?"), ("assistant", "…"))
    told = await ask(assistant, Turn("and to Sentosa?", history), desk)
    assert desk.asked[0] == "how much is delivery to the city? and to Sentosa?"
    assert "SGD 18" in told.text


async def test_a_step_is_shown_before_each_look_up_and_text_comes_in_small_pieces(assistant: OfflineAssistant) -> None:
    told = await ask(assistant, "When do you deliver?", Desk((ZONES,)))
    assert isinstance(told.events[0], Step)
    deltas = [event.text for event in told.events if isinstance(event, Delta)]
    assert max(len(text.split()) for text in deltas) == 1
    chinese = await ask(assistant, "你好", Desk())
    assert max(len(event.text) for event in chinese.events if isinstance(event, Delta)) <= 3


@pytest.mark.parametrize(
    ("text", "language"), [("hi", Language.EN), ("你好", Language.ZH), ("selamat pagi", Language.MS)]
)
async def test_greetings_look_nothing_up(assistant: OfflineAssistant, text: str, language: Language) -> None:
    told = await ask(assistant, Turn(text, outlet_name="Katong Pizza"), Desk((ZONES,)))
    assert (told.end.intent, told.end.language) == (Intent.GREETING, language)
    assert "Katong Pizza" in told.text
    assert not any(isinstance(event, Step) for event in told.events)


def test_every_language_has_every_text_with_the_same_placeholders() -> None:
    voices = load_replies().voices
    english = voices[Language.EN]
    for voice in voices.values():
        assert voice.texts.keys() == english.texts.keys()
        assert {group: set(names) for group, names in voice.words.items()} == {
            group: set(names) for group, names in english.words.items()
        }
