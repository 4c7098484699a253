"""Order lines from a message: deterministic, without a model or a server, on any catalogue (CONTRACT.md §8).

Every line keeps the part of the message that it came from. What is unclear becomes a question and never a guess; the
sure lines stay beside it. A message that orders nothing has no lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from server.order.extraction_cues import Cue
from server.order.extraction_cutting import MessageReader
from server.order.extraction_gate import ordering, topic
from server.order.extraction_index import CatalogueIndex
from server.order.extraction_parts import Amount, Mention, Part
from server.order.extraction_questions import Ask, Question
from server.order.extraction_slots import Sheet, Slot
from server.order.product import CatalogueProduct

_MOST_SAID = 60


@dataclass(frozen=True, slots=True)
class PastLine:
    """A line of the outlet's usual or last order, in the product's unit of sale."""

    sku: str
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class ExtractedLine:
    """`quantity` of the product in its unit of sale, read from message[start:end] (code points). `confidence` in
    (0, 1]: 1 is a SKU, name or alias as it stands in the catalogue. `said` are the words that name the product."""

    sku: str
    quantity: Decimal
    start: int
    end: int
    confidence: float
    said: str = ""


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a message orders. `removed` are SKUs that the customer does not want, named so that an earlier draft can be
    corrected. `usual` says that an earlier order was asked for again. `topic` is PRICE, REPORT or ASK when goods are
    named and not ordered."""

    lines: tuple[ExtractedLine, ...] = ()
    questions: tuple[Question, ...] = ()
    delivery_date: date | None = None
    removed: tuple[str, ...] = ()
    usual: bool = False
    topic: Cue | None = None


class OrderExtractor:
    """Extraction for one catalogue. Building takes about 0.1 ms a product: keep it for as long as the catalogue's
    revision stands. `extract` may be called from any thread."""

    def __init__(self, products: Sequence[CatalogueProduct]) -> None:
        self._index = CatalogueIndex.build(products)
        self._reader = MessageReader(self._index)

    def extract(self, text: str, *, today: date, history: Sequence[PastLine] = ()) -> Extraction:
        """The lines of one message. `today` is the date at the customer's place; `history` is the order that "the
        usual" means, and decides between products that fit equally. Never raises for any text."""
        parsed = self._reader.parse(text, today)
        sheet = Sheet(self._index, history_skus=[line.sku for line in history])
        reading = _Reading(sheet, ordering(parsed.parts), history)
        reading.read()
        lines, questions = _outcome(sheet, text)
        if reading.asks_usual is not None and not history:
            questions = [_question(Ask.USUAL, reading.asks_usual, text), *questions]
        return Extraction(
            tuple(lines),
            tuple(questions),
            parsed.delivery_date,
            tuple(dict.fromkeys(sheet.removed)),
            reading.asks_usual is not None,
            topic(parsed.parts),
        )


class _Reading:
    """One message on its way onto the sheet; used once."""

    def __init__(self, sheet: Sheet, parts: Sequence[Part], history: Sequence[PastLine]) -> None:
        self._sheet = sheet
        self._parts = parts
        self._history = history
        self._changing: Slot | None = None
        self._shared: Amount | None = None  # "5 packs each of forks and spoons"
        self.asks_usual: tuple[int, int] | None = None

    def read(self) -> None:
        mode: Cue | None = None
        for part in self._parts:
            # "no napkins and straws": both go
            mode = mode if mode is Cue.REMOVE and part.joined and not part.amounts and part.mode is None else part.mode
            match mode:
                case Cue.REMOVE:
                    self._remove(part)
                case Cue.VOID:
                    self._void(part)
                case Cue.CHANGE:
                    self._changing = self._sheet.matching(part.mentions)
                case Cue.TO:
                    self._set(part, self._changing)
                case Cue.SET:
                    self._set(part, None)
                case Cue.USUAL:
                    self._usual(part)
                case _:
                    self._add(part)

    def _add(self, part: Part) -> None:
        for amount, mention in _pairs(part):
            if amount is None and mention is not None:
                self._lone_mention(part, mention)
            elif mention is not None and part.each and self._sheet.last is not None and part.joined:
                self._sheet.share(self._sheet.last, amount)
                self._sheet.add(mention, amount, ordered=True)
            elif mention is None and amount is not None:
                self._lone_amount(part, amount)
            else:
                self._sheet.add(mention, amount, ordered=Cue.ORDER in part.cues)
                self._shared = amount if part.each else None

    def _lone_mention(self, part: Part, mention: Mention) -> None:
        """ "8 rolls of foil, the 45cm" says the rest; otherwise its quantity may follow, or is asked for."""
        if not part.joined and self._sheet.refine(mention):
            return
        shared = self._shared if part.joined else None
        self._sheet.add(mention, shared, ordered=Cue.ORDER in part.cues)

    def _lone_amount(self, part: Part, amount: Amount) -> None:
        waiting = self._sheet.last
        if waiting is not None and waiting.mention is not None and waiting.amount is None:
            waiting.amount = amount
            self._sheet.settle(waiting)
        elif amount.quantity.unit or amount.quantity.marked or (part.unknown and amount.quantity.value != 1):
            self._sheet.add(None, amount, ordered=Cue.ORDER in part.cues)

    def _remove(self, part: Part) -> None:
        for mention in part.mentions:
            self._sheet.remove(mention)

    def _void(self, part: Part) -> None:
        """ "instead of the printed": what was said last stays, whatever it is compared with."""
        for mention in part.mentions:
            self._sheet.remove(mention, keep=self._sheet.last)

    def _set(self, part: Part, target: Slot | None) -> None:
        target = target or self._sheet.said_again()
        for amount, mention in _pairs(part):
            slot = target or (self._sheet.matching([mention]) if mention else None)
            if slot is None and (mention is None or not self._sheet.stands_alone(mention)):
                slot = self._sheet.last
            if slot is None:
                self._sheet.add(mention, amount, ordered=True)
            else:
                self._sheet.correct(slot, mention, amount)

    def _usual(self, part: Part) -> None:
        if self.asks_usual is None:
            self.asks_usual = (part.start, part.start + max(1, _cue_length(part)))
            for line in self._history:
                self._sheet.repeat(line.sku, line.quantity, self.asks_usual)
        self._add(part)


def _cue_length(part: Part) -> int:
    first = part.items[0].start if part.items else part.end
    return first - part.start


def _pairs(part: Part) -> Iterator[tuple[Amount | None, Mention | None]]:
    """Quantities with their products: each takes the product behind it when the part begins with a quantity, else the
    one before it."""
    items = part.items
    forward = bool(items) and isinstance(items[0], Amount)
    place = 0
    while place < len(items):
        first = items[place]
        second = items[place + 1] if place + 1 < len(items) else None
        place += 1
        if isinstance(first, Amount):
            third = items[place + 1] if place + 1 < len(items) else None
            free = forward or not isinstance(third, Amount)  # "foil 3 rolls 5 packs napkins"
            mention = second if free and isinstance(second, Mention) else None
            place += mention is not None
            yield first, mention
        else:
            amount = second if not forward and isinstance(second, Amount) else None
            place += amount is not None
            yield amount, first


def _outcome(sheet: Sheet, text: str) -> tuple[list[ExtractedLine], list[Question]]:
    """Lines of products said twice are one; then stock and minimum are looked at."""
    lines: list[ExtractedLine] = []
    questions: list[Question] = []
    by_sku: dict[str, list[Slot]] = {}
    for slot in sheet.slots:
        if slot.ask is not None:
            products = tuple(slot.candidates[:5])
            questions.append(_question(slot.ask, (slot.start, slot.end), text, products, slot.quantity))
        elif slot.product is not None:
            by_sku.setdefault(slot.product.sku, []).append(slot)
    # Goods that are named once more without a quantity are not asked about.
    questions = [asked for asked in questions if not (asked.ask is Ask.HOW_MANY and _any_of(asked.products, by_sku))]
    for slots in by_sku.values():
        product = slots[0].product
        quantity = sum((slot.quantity or Decimal(0) for slot in slots), Decimal(0))
        start, end = min(slot.start for slot in slots), max(slot.end for slot in slots)
        if product is not None and (ask := _refused(product, quantity)) is not None:
            questions.append(_question(ask, (start, end), text, (product,), quantity))
        elif product is not None:
            sure = min(slot.confidence for slot in slots)
            lines.append(ExtractedLine(product.sku, quantity, start, end, sure, _said(slots[0], text)))
    return sorted(lines, key=lambda line: (line.start, line.sku)), sorted(questions, key=lambda asked: asked.start)


def _said(slot: Slot, text: str) -> str:
    return text[slot.mention.start : slot.mention.end] if slot.mention is not None else ""


def _any_of(products: Sequence[CatalogueProduct], by_sku: Mapping[str, object]) -> bool:
    return any(product.sku in by_sku for product in products)


def _refused(product: CatalogueProduct, quantity: Decimal) -> Ask | None:
    if product.stock is not None and quantity > product.stock:
        return Ask.ABOVE_STOCK
    return Ask.BELOW_MINIMUM if quantity < product.min_quantity else None


def _question(
    ask: Ask,
    span: tuple[int, int],
    text: str,
    products: tuple[CatalogueProduct, ...] = (),
    quantity: Decimal | None = None,
) -> Question:
    said = " ".join(text[span[0] : span[1]].split())
    said = said if len(said) <= _MOST_SAID else said[: _MOST_SAID - 1] + "…"
    return Question(ask, span[0], span[1], said, products, quantity)
