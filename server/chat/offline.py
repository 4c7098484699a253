"""The assistant that needs no language model: phrases and meaning tell what is wanted, documents and catalogue answer.

It never writes a fact. What it says of its own is in replies.toml; everything else is quoted from a passage, with its
number, or read from the catalogue or the orders. What it cannot do it hands to a person and says so.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import replace

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
    Proposed,
    Step,
    Tools,
    Turn,
    Usage,
)
from server.chat.extract import Extract, Quote, extract
from server.chat.hand_off import HandOffReason
from server.chat.intents import IntentResult, classify, reply_language
from server.chat.order_reply import order_reply
from server.chat.question import parts
from server.chat.quoting import order_line, product_lines
from server.chat.replies import Replies, Voice, load_replies, plain, says
from server.chat.understanding import Understand
from server.knowledge.lexical import Lexicon
from server.knowledge.passages import Passage, SearchResult
from server.order.number import named, said_numbers

# After so many messages in a row that it could not answer, a person takes over (REQUIREMENTS.md, hand-over rules).
_PATIENCE = 3
# A product is offered as the answer from this fit on, as the nearest thing from the lower one.
_FITS, _NEAR = 0.6, 0.4
# Products that fit nearly as well as the best are told together.
_ALIKE = 0.12
_MOST_PRODUCTS = 6
# From this confidence on a message is none of the desk's business; below it the documents may know better.
_ELSEWHERE = 0.85
# Orders that are listed, and those among which a number that was said is looked for.
_SHOWN_ORDERS, _MOST_ORDERS = 3, 50
# Passages that sentences are chosen from.
_CANDIDATES = 8
# The share of the question that quotes must serve before they are an answer.
_SERVED = 0.4
# Where the search is this sure of the passage, its word counts for more than shared words.
_SURE, _SERVED_WHERE_SURE = 0.5, 0.2
# A statement about other goods looks like an answer about these; what a product can stand must be said of it.
_SERVED_OF_PRODUCT = 0.65
_QUESTIONS = frozenset({Intent.POLICY_QUESTION, Intent.PRODUCT_QUESTION})
_UNCLEAR = _QUESTIONS | {Intent.OTHER}

_PIECE = re.compile(r"[^\s\u3000-\u9fff\uff00-\uffef]+\s*|[\u3000-\u9fff\uff00-\uffef]{1,2}\s*|\s+")
_ORDER_NUMBER = re.compile(r"(?<![A-Za-z0-9-])(?:[A-Za-z]{1,4}-)?\d{3,12}(?![A-Za-z0-9])")
# Price, pack, size, stock, minimum: what the catalogue answers rather than a document.
_SALE = re.compile(
    r"\b(?:prices?|cost|how much|rate|stock|available|sell|have|got|carry|minimum|moq|pack|carton|pieces|sizes?"
    r"|catalogue|harga|berapa|stok|jual|ada|saiz|katalog)\b|多少|价|卖|有货|有没有|尺寸|库存|最少|目录|[有还].*吗",
    re.IGNORECASE,
)


class FreeReply(AsyncIterator[Event]):
    """The port's `Reply` over a generator that costs nothing, however it ends."""

    usage = Usage()

    def __init__(self, events: AsyncGenerator[Event, None]) -> None:
        self._events = events

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Ends the answer."""
        await self._events.aclose()


class OfflineAssistant:
    """`Assistant` by rules and quotation. Holds tables only; safe to share between runs."""

    name = "offline"

    def __init__(self, lexicon: Lexicon, understand: Understand, replies: Replies | None = None) -> None:
        self._lexicon = lexicon
        self._understand = understand
        self._replies = replies or load_replies()

    def reply(self, turn: Turn, tools: Tools) -> FreeReply:
        """One answer; look-ups that fail raise what the tools raise."""
        return FreeReply(self._events(turn, tools))

    async def _events(self, turn: Turn, tools: Tools) -> AsyncGenerator[Event, None]:
        intent = await self._intent(turn)
        if not intent.food_safety:
            intent = replace(intent, intent=await tools.hear_order(intent.intent))
        voice = self._replies.voices[intent.language]
        answer = _Answer(self._lexicon, self._replies, voice, turn, tools, intent)
        async for event in answer.events():
            yield event

    async def _intent(self, turn: Turn) -> IntentResult:
        """The message's intent, seen in what was said before: "yes" to our offer of a colleague asks for one."""
        result = await self._understand(turn.text, turn.locale)
        question = _followed(self._lexicon, self._replies, turn)
        if question != turn.text and result.intent in _UNCLEAR:
            # "and to Sentosa?" says nothing by itself.
            result = await self._understand(question, turn.locale)
        last = turn.history[-1] if turn.history else ("", "")
        if last[0] != "assistant" or not self._replies.offered(last[1]):
            return result
        answer = plain(turn.text)
        language = reply_language(last[1])
        if answer in self._replies.heard.yes:
            return IntentResult(Intent.HAND_OFF, 0.95, language)
        if answer in self._replies.heard.no:
            return IntentResult(Intent.OTHER, 0.95, language, declined=True)
        return result


class _Answer:
    """One answer in the making; used once."""

    def __init__(
        self, lexicon: Lexicon, replies: Replies, voice: Voice, turn: Turn, tools: Tools, intent: IntentResult
    ) -> None:
        self._lexicon = lexicon
        self._replies = replies
        self._voice = voice
        self._turn = turn
        self._tools = tools
        self._intent = intent
        self._asked = _followed(lexicon, replies, turn)
        self._cited = 0

    async def events(self) -> AsyncIterator[Event]:
        match self._intent.intent:
            case Intent.GREETING:
                events = self._greeting()
            case Intent.HAND_OFF:
                events = self._said("hand_off", AnswerKind.HANDED_OFF)
            case Intent.COMPLAINT:
                why = HandOffReason.FOOD_SAFETY if self._intent.food_safety else HandOffReason.COMPLAINT
                events = self._said(why.told, AnswerKind.HANDED_OFF, why=why)
            case Intent.ORDER:
                events = self._order()
            case Intent.ORDER_STATUS:
                events = self._status()
            case Intent.PRODUCT_QUESTION:
                events = self._product()
            case Intent.POLICY_QUESTION:
                events = self._policy(self._asked)
            case Intent.OTHER:
                events = self._other()
        async for event in events:
            yield event

    def _greeting(self) -> AsyncIterator[Event]:
        if self._turn.outlet_name:
            return self._said("greeting_outlet", AnswerKind.ANSWERED, outlet=self._turn.outlet_name)
        return self._said("greeting", AnswerKind.ANSWERED)

    async def _said(
        self, text: str, kind: AnswerKind, confidence: float = 1.0, why: HandOffReason | None = None, **values: str
    ) -> AsyncIterator[Event]:
        for piece in _pieces(self._voice.say(text, **values)):
            yield piece
        yield replace(self._ended(kind, confidence), why=why)

    async def _other(self) -> AsyncIterator[Event]:
        """Thanks and the like; else a question that the rules did not recognise may still have an answer."""
        if self._intent.declined:
            events = self._said("declined", AnswerKind.ANSWERED)
        elif self._intent.courtesy:
            events = self._said("courtesy", AnswerKind.ANSWERED)
        elif self._intent.confidence > _ELSEWHERE:
            events = self._given_up("off_topic")
        else:
            events = self._policy(self._asked)
        async for event in events:
            yield event

    async def _policy(self, question: str) -> AsyncIterator[Event]:
        yield Step("retrieving")
        found = await self._search(question)
        if found is None:
            async for event in self._given_up("abstain"):
                yield event
            return
        for event in self._from_documents(found):
            yield event

    async def _product(self) -> AsyncIterator[Event]:
        """The catalogue knows prices, packs and stock; what a product can stand is in the documents."""
        question = self._asked
        yield Step("reading_catalogue")
        products = _alike(await self._tools.search_products(question, limit=_MOST_PRODUCTS))
        fits = bool(products) and products[0].score >= _FITS
        if not fits or not _about_the_sale(question):
            yield Step("retrieving")
            found = await self._search(question)
            if found is not None and found.coverage >= _SERVED_OF_PRODUCT:
                for event in self._from_documents(found):
                    yield event
                return
        if not products or products[0].score < _NEAR:
            async for event in self._given_up("abstain"):
                yield event
            return
        for event in _pieces(self._products(products, exact=fits)):
            yield event
        yield self._ended(AnswerKind.ANSWERED, products[0].score)

    def _products(self, products: Sequence[Product], *, exact: bool) -> str:
        lines = product_lines(products, self._voice)
        if not exact:
            return f"{self._voice.say('product_close')}\n{lines}"
        if len(products) == 1:
            return lines
        gap = "" if self._voice.language is Language.ZH else " "
        return f"{self._voice.say('product_list')}\n{lines}{gap}{self._voice.say('product_more')}"

    async def _order(self) -> AsyncIterator[Event]:
        """A proposal for a person to confirm; a question that came along is answered first."""
        questions = [part for part in parts(self._turn.text) if classify(part).intent in _QUESTIONS]
        if questions and _QUESTIONS & set(self._intent.also):
            yield Step("retrieving")
            found = await self._search(" ".join(questions))
            if found is not None:
                for event in self._quotes(found):
                    yield event
                yield Delta("\n\n")
        yield Step("reading_catalogue")
        reply = await order_reply(self._turn, self._tools, self._voice, self._replies.heard)
        for piece in _pieces(reply.text):
            yield piece
        if reply.proposal is not None:
            yield Proposed(reply.proposal)
        yield self._ended(reply.kind, 1.0)

    async def _status(self) -> AsyncIterator[Event]:
        yield Step("checking_orders")
        orders = await self._tools.recent_orders(limit=_MOST_ORDERS if said_numbers(self._turn.text) else _SHOWN_ORDERS)
        text, kind = self._orders(orders)
        for event in _pieces(text):
            yield event
        yield self._ended(kind, 1.0)

    def _orders(self, orders: Sequence[OrderSummary]) -> tuple[str, AnswerKind]:
        voice = self._voice
        if not orders:
            return voice.say("orders_none"), AnswerKind.ABSTAINED
        asked = said_numbers(self._turn.text) or _ORDER_NUMBER.findall(self._turn.text)
        numbers = named(self._turn.text, [order.number for order in orders])
        meant = [order for order in orders if order.number in numbers or _same_number(order, asked)]
        gap = "" if voice.language is Language.ZH else " "
        eta = gap + voice.say("orders_eta") if says(self._turn.text, self._replies.heard.arrival) else ""
        shown = meant or orders[:_SHOWN_ORDERS]
        if asked and not meant:
            lines = [voice.say("orders_unknown", number=asked[0])]
        elif len(shown) == 1:
            under_way = shown[0].state in {"CONFIRMED", "ACCEPTED", "FULFILLING"}
            return order_line("orders_one", shown[0], voice) + (eta if under_way else ""), AnswerKind.ANSWERED
        else:
            lines = [voice.say("orders_list")]
        return "\n".join([*lines, *(order_line("orders_row", order, voice) for order in shown)]), AnswerKind.ANSWERED

    async def _search(self, question: str) -> Extract | None:
        """Quotes that answer the question, or None when nothing trustworthy was found."""
        results = [await self._tools.search_knowledge(question, limit=_CANDIDATES)]
        asked = parts(question)
        # "and within how many days?" says nothing by itself; searched alone it would find any deadline.
        telling = [part for part in asked if len(self._lexicon.question(part).units) > 1]
        for part in telling if len(asked) > 1 else ():
            results.append(await self._tools.search_knowledge(part, limit=3))  # noqa: PERF401  # one after the other
        passages = _merged(results)
        found = extract(self._lexicon, question, passages, self._voice.language.value)
        if not found.quotes:
            return None
        sure = max(quote.passage.score for quote in found.quotes) >= _SURE
        return found if found.coverage >= (_SERVED_WHERE_SURE if sure else _SERVED) else None

    def _from_documents(self, found: Extract) -> Iterator[Event]:
        """A whole answer of quotes; a part of the question that has none is named."""
        yield from self._quotes(found)
        for part in found.missing[:1]:
            yield from _pieces("\n\n" + self._voice.say("partly", part=part))
        yield self._ended(AnswerKind.ANSWERED, max(quote.passage.score for quote in found.quotes))

    def _quotes(self, found: Extract) -> Iterator[Event]:
        """The quotes, each with its number and its Cited right behind it; one lead-in per foreign language."""
        introduced = own = self._voice.language.value
        row = False
        for number, quote in enumerate(found.quotes):
            language = quote.passage.language or own
            if number:
                yield Delta("\n" if row or quote.row or language != introduced else " ")
            if language not in {own, introduced}:
                name = self._voice.word("languages", language)
                yield from _pieces(self._voice.say("foreign", language=name))
                gap = "" if own == Language.ZH else " "
                yield Delta("\n" if quote.row else gap)
            introduced, row = language, quote.row
            self._cited += 1
            yield from _pieces(f"{_told(quote, quoted=language != own)} [{self._cited}]")
            yield Cited(self._cited, quote.passage, quote.text)

    async def _given_up(self, text: str) -> AsyncIterator[Event]:
        answers = [said for role, said in self._turn.history if role == "assistant"]
        failures = 0
        for answer in reversed(answers):
            if not self._replies.gave_up(answer):
                break
            failures += 1
        if failures >= _PATIENCE - 1:
            events = self._said("lost", AnswerKind.HANDED_OFF, why=HandOffReason.MISUNDERSTOOD_THREE_TIMES)
        else:
            events = self._said(text, AnswerKind.ABSTAINED, 0.2)
        async for event in events:
            yield event

    def _ended(self, kind: AnswerKind, confidence: float) -> Answered:
        sure = round(min(confidence, max(self._intent.confidence, 0.5)), 3)
        return Answered(kind, self._intent.intent, sure, self._intent.language)


def _followed(lexicon: Lexicon, replies: Replies, turn: Turn) -> str:
    """The message; a follow-up ("and on Sundays?") together with what it follows."""
    asked = [said for role, said in turn.history if role == "user"]
    start = plain(turn.text)
    follows = any(_begins(start, phrase) for phrase in replies.heard.follow_up)
    if asked and follows and len(lexicon.question(turn.text).units) <= 3:
        return f"{asked[-1]} {turn.text}"
    return turn.text


def _about_the_sale(question: str) -> bool:
    """True for price, pack, size, stock or minimum, which the catalogue answers."""
    return bool(_SALE.search(question))


def _alike(products: Sequence[Product]) -> list[Product]:
    """The best product and those that fit nearly as well."""
    return [product for product in products if product.score >= products[0].score - _ALIKE]


def _same_number(order: OrderSummary, asked: Sequence[str]) -> bool:
    return any(order.number.upper() == each.upper() or order.number.rsplit("-", 1)[-1] == each for each in asked)


def _begins(text: str, phrase: str) -> bool:
    return text.startswith(phrase) and (not phrase.isascii() or not text[len(phrase) : len(phrase) + 1].isalpha())


def _merged(results: Sequence[SearchResult]) -> list[Passage]:
    """The passages of the confident searches, each once with its best score."""
    best: dict[str, Passage] = {}
    for result in results:
        for passage in result.passages if result.confident else ():
            known = best.get(passage.chunk)
            if known is None or passage.score > known.score:
                best[passage.chunk] = passage
    return list(best.values())


def _told(quote: Quote, *, quoted: bool) -> str:
    """The quote as it reads in an answer: a row as a sentence, another language in quotation marks."""
    text = quote.text
    if quote.row:
        (_, first), *rest = (cell.split(": ", 1) for cell in text.split("; "))
        if quote.passage.language == Language.ZH:
            text = f"{first}：" + "；".join(f"{name}{value}" for name, value in rest) + "。"
        else:
            text = f"{first}: " + "; ".join(f"{_lowered(name)} {value}" for name, value in rest) + "."
    return f"“{text}”" if quoted else text


def _lowered(name: str) -> str:
    return name[0].lower() + name[1:] if name[1:2].islower() else name


def _pieces(text: str) -> Iterator[Delta]:
    """Word-sized pieces; two characters of Chinese at a time."""
    for piece in _PIECE.findall(text):
        yield Delta(piece)
