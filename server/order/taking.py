"""Taking an order in conversation: what a customer's messages order together, and the proposal made of it.

The messages of one order are read as one text, so that a correction ("make that 15"), a removal ("no napkins") and the
answer to a question ("the 12 inch") mean what they mean in it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from server.db.pool import Connection
from server.order import habits, order_store, proposal_store
from server.order.catalogue import Catalogue
from server.order.extraction import ExtractedLine, Extraction, OrderExtractor, PastLine
from server.order.extraction_cues import Cue
from server.order.extraction_questions import Question
from server.order.extractors import Extractors
from server.order.ordering import Ordering, refuse_paid
from server.order.pricing import Provenance, Wanted
from server.order.proposal import Asked, Kind, Proposal
from server.order.proposing import propose
from server.order.reading import last_order
from server.order.states import Move, Party, State, allowed
from server.order.terms import load_terms

_MOST_TEXT = 20_000  # characters of all messages of one order
_SHORT = 2_000  # characters that are read in a few milliseconds: not worth a thread
# "Same as last time" is the last order; "the usual" is what most orders have.
_LAST = re.compile(r"\b(?:last|previous|before|lepas|lalu|sebelum)\b|上[次回周个]|上星期|以前", re.IGNORECASE)
_LAST_WEEK = re.compile(r"\blast week|minggu (?:lepas|lalu)|上个?星期|上周", re.IGNORECASE)
# Said of goods that are in the order already, a quantity comes on top of the one before.
_MORE = re.compile(
    r"\b(?:more|another|extra|additional|add|plus|also|lagi|tambah|tambahan|juga)\b|再|多|加|另", re.IGNORECASE
)
_MOST_CANDIDATES = 5
_MOST_NUMBERS = 200


@dataclass(frozen=True, slots=True)
class Said:
    """A customer's message, by its resource name."""

    message: str
    text: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What messages order together.

    `orders` and `asks` tell whether the newest one does so by itself: it has lines, or something to ask about;
    `changed` whether it changes what the earlier ones order. `topic` is the newest one's, as in `Extraction`.
    """

    wanted: tuple[Wanted, ...] = ()
    questions: tuple[Question, ...] = ()
    day: date | None = None
    topic: Cue | None = None
    orders: bool = False
    asks: bool = False
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a conversation's order stands: what was said until `since` is settled; `open` waits to be decided."""

    since: datetime | None
    open: Proposal | None


class Taking:
    """The use cases of ordering by conversation. Nothing here orders anything: a person confirms the proposal."""

    def __init__(self, ordering: Ordering, catalogue: Catalogue) -> None:
        self._ordering = ordering
        self._extractors = Extractors(catalogue)

    async def standing(self, tenant: str, outlet: str, conversation: str) -> Standing:
        """Where the conversation's order stands now."""
        async with self._ordering.database.connection() as connection:
            since, open_id = await proposal_store.standing(connection, tenant, conversation, self._ordering.now())
            found = (
                await proposal_store.get(connection, self._ordering.vault, tenant, open_id, outlet) if open_id else None
            )
        return Standing(since, found)

    async def hear(self, tenant: str, outlet: str, earlier: Sequence[Said], newest: Said) -> Heard:
        """What the messages of one order, oldest first, order together. Never raises for any text."""
        now = self._ordering.now()
        async with self._ordering.database.connection() as connection:
            terms = await load_terms(connection, tenant, outlet, self._ordering.money)
            aliases = await habits.aliases(connection, self._ordering.vault, tenant, outlet)
            history = await self._history(connection, tenant, outlet, newest.text, terms.calendar.today(now))
        extractor = await self._extractors.get(tenant, outlet, aliases)
        asked = (extractor, earlier, newest, terms.calendar.today(now), history)
        if len(newest.text) + sum(len(said.text) for said in earlier) <= _SHORT:
            return _heard(*asked)
        return await asyncio.to_thread(_heard, *asked)

    async def propose(
        self, tenant: str, outlet: str, heard: Heard, *, conversation: str, language: str, person: str
    ) -> Proposal:
        """Proposes what was heard. Raises FAILED_PRECONDITION with a sentence for the customer when no line of it can
        be priced."""
        asked = Asked(
            Kind.PLACE_ORDER,
            outlet,
            wanted=heard.wanted,
            day=heard.day,
            conversation=conversation,
            language=language,
            questions=[question.sentence(language) for question in heard.questions],
            person=person,
        )
        async with self._ordering.database.transaction() as connection:
            return await propose(connection, self._ordering, tenant, asked)

    async def cancellable(self, tenant: str, outlet: str) -> list[tuple[str, str]]:
        """(bare id, number) of the newest orders that the customer may still call off."""
        states = [state for state in State if Move.CANCEL in allowed(state, Party.CUSTOMER) and not state.open]
        async with self._ordering.database.connection() as connection:
            found = await order_store.page(
                connection, self._ordering.vault, tenant, outlet, states, None, _MOST_CANDIDATES
            )
        return [(order.id, order.number) for order in found]

    async def numbers(self, tenant: str, outlet: str) -> list[str]:
        """The numbers of the outlet's newest orders, whatever their state."""
        async with self._ordering.database.connection() as connection:
            found = await order_store.page(connection, self._ordering.vault, tenant, outlet, (), None, _MOST_NUMBERS)
        return [order.number for order in found]

    async def propose_cancelling(
        self, tenant: str, outlet: str, order: str, *, conversation: str, language: str, person: str
    ) -> Proposal:
        """Proposes to call the order off. Raises FAILED_PRECONDITION with a sentence for one that is paid."""
        asked = Asked(
            Kind.CANCEL_ORDER, outlet, conversation=conversation, language=language, order=order, person=person
        )
        async with self._ordering.database.transaction() as connection:
            found = await order_store.get(connection, self._ordering.vault, tenant, order, outlet)
            if found is not None:
                await refuse_paid(connection, self._ordering, tenant, found, language)
            return await propose(connection, self._ordering, tenant, asked)

    async def _history(
        self, connection: Connection, tenant: str, outlet: str, text: str, today: date
    ) -> list[PastLine]:
        """What an order "again" means for the outlet."""
        usual = [PastLine(each.sku, each.last) for each in await habits.usual(connection, tenant, outlet)]
        if usual and not _LAST.search(text):
            return usual
        vault, now, order = self._ordering.vault, self._ordering.now(), None
        if _LAST_WEEK.search(text):
            monday = now - timedelta(days=today.weekday(), hours=now.hour, minutes=now.minute)
            order = await last_order(connection, vault, tenant, outlet, monday, within=timedelta(days=7))
        order = order or await last_order(connection, vault, tenant, outlet, now)
        return [PastLine(sku, units) for sku, units in habits.units_by_sku(order.priced).items()] if order else usual


def _heard(
    extractor: OrderExtractor, earlier: Sequence[Said], newest: Said, today: date, history: Sequence[PastLine]
) -> Heard:
    alone = extractor.extract(newest.text, today=today, history=history)
    before = extractor.extract(_joined(earlier), today=today, history=history)
    said = [*earlier, newest]
    whole = extractor.extract(_joined(said), today=today, history=history) if earlier else alone
    lines = [_restated(line, alone, before, newest.text) for line in whole.lines]
    return Heard(
        tuple(Wanted(line.sku, line.quantity, tuple(_origins(line, said))) for line in lines),
        whole.questions,
        whole.delivery_date,
        alone.topic,
        orders=bool(alone.lines),
        asks=bool(alone.questions),
        changed=bool(earlier) and _content(whole) != _content(before),
    )


def _joined(said: Sequence[Said]) -> str:
    return "\n".join(each.text for each in said)[:_MOST_TEXT]


def _content(found: Extraction) -> object:
    return (
        {line.sku: line.quantity for line in found.lines},
        [(asked.ask, asked.said) for asked in found.questions],
        found.delivery_date,
    )


def _restated(line: ExtractedLine, alone: Extraction, before: Extraction, text: str) -> ExtractedLine:
    """The line; goods that are in the order already and are named again with a quantity get that one, unless the
    message says that it comes on top."""
    again: Decimal | None = next((each.quantity for each in alone.lines if each.sku == line.sku), None)
    known = any(each.sku == line.sku for each in before.lines)
    if again is None or not known or _MORE.search(text):
        return line
    return ExtractedLine(line.sku, again, line.start, line.end, line.confidence, line.said)


def _origins(line: ExtractedLine, said: Sequence[Said]) -> Iterator[Provenance]:
    """Where the line was said: the parts of the first and the last message that its span touches."""
    parts = []
    offset = 0
    for each in said:
        start, end = max(line.start - offset, 0), min(line.end - offset, len(each.text))
        if start < end and each.text[start:end].strip():
            parts.append((each, start, end))
        offset += len(each.text) + 1
    for each, start, end in parts[:1] + parts[1:][-1:]:
        words = line.said if line.said in each.text[start:end] else ""
        yield Provenance(each.message, start, end, line.confidence, words)
