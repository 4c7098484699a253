"""The sheet on which a message's order is written, corrected and crossed out before it becomes lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from server.order.extraction_finding import ProductFinder, Slot
from server.order.extraction_index import CatalogueIndex, measure_of
from server.order.extraction_parts import Amount, Mention
from server.order.extraction_questions import Ask

# So many things of one sentence are looked at together.
_MOST_PARTS = 8


class Sheet:
    """The slots of one message. `history_skus` decide between products that fit equally."""

    def __init__(self, index: CatalogueIndex, history_skus: Iterable[str] = ()) -> None:
        self._index = index
        self._finder = ProductFinder(index, frozenset(history_skus))
        self.slots: list[Slot] = []
        self.removed: list[str] = []

    @property
    def last(self) -> Slot | None:
        return self.slots[-1] if self.slots else None

    def add(self, mention: Mention | None, amount: Amount | None, *, ordered: bool) -> None:
        """Write down one thing; what is said of a line of the usual takes its place."""
        places = [item for item in (mention, amount) if item is not None]
        start, end = min(item.start for item in places), max(item.end for item in places)
        slot = Slot(mention, amount, start, end, ordered)
        self.settle(slot)
        if slot.product is not None and slot.ask is None:
            self.slots = [other for other in self.slots if not (other.usual and other.product is slot.product)]
        self.slots.append(slot)

    def share(self, slot: Slot, amount: Amount | None) -> None:
        """Give a quantity that was said for several ("forks and spoons, 5 each") to one that has none yet."""
        if slot.amount is None and not slot.usual:
            slot.amount = amount
            self.settle(slot)

    def said_again(self) -> Slot | None:
        """The slot that the last one, a product without a quantity, only names once more ("gloves, make it four")."""
        last = self.last
        if last is None or last.amount is not None or last.mention is None or len(last.candidates) != 1:
            return None
        earlier = next((slot for slot in self.slots[:-1] if slot.product is last.candidates[0]), None)
        if earlier is not None:
            self.slots.pop()
        return earlier

    def repeat(self, sku: str, quantity: Decimal, span: tuple[int, int]) -> None:
        """A line of an earlier order again; one that is no longer sold is asked about."""
        product = self._index.by_sku(sku)
        slot = Slot(None, None, *span, product=product, quantity=quantity, confidence=0.9, usual=True)
        slot.ask = None if product is not None else Ask.UNKNOWN_PRODUCT
        self.slots.append(slot)

    def settle(self, slot: Slot) -> None:
        """Find the product and the quantity of what was said."""
        self._finder.settle(slot, self.slots)

    def stands_alone(self, mention: Mention) -> bool:
        """Whether the mention names a thing, and not only which ("300mm", "the large")."""
        return self._finder.stands_alone(mention)

    def refine(self, mention: Mention) -> bool:
        """Add what is said to the last slot if that leaves one product: "8 rolls of foil, the 45cm"."""
        slot = self.last
        if slot is None or slot.mention is None or slot.ask is not Ask.WHICH_PRODUCT or self.stands_alone(mention):
            return False
        both = self._joined(slot.mention, mention, [*slot.mention.terms, *mention.terms])
        left = self._index.find(both.terms).products
        if not left or not set(left) <= set(slot.candidates):
            return False
        slot.mention = both
        self.settle(slot)
        return True

    def complete(self, first: int) -> None:
        """ "blue, black and red pens": those of the slots from `first` that only say which take their noun from the
        last one, if that leaves one product."""
        self._split_up(first)
        last = self.slots[-1].mention if self.slots[first:] else None
        if last is None or not self.stands_alone(last):
            return
        for slot in self.slots[max(first, len(self.slots) - _MOST_PARTS) : -1]:
            if slot.mention is None or slot.ask is not Ask.WHICH_PRODUCT:
                continue
            like = self._index.closest(slot.candidates, last.terms)
            if len(like) == 1 and not self.stands_alone(slot.mention):
                noun = self._index.shared(like[0], last.terms)
                slot.mention = self._joined(slot.mention, slot.mention, [*slot.mention.terms, *noun])
                self.settle(slot)

    def _split_up(self, first: int) -> None:
        """ "40 ring files, 20 blue 20 black": the sum that is said before its parts is no order of its own."""
        for place in range(max(first, len(self.slots) - _MOST_PARTS), len(self.slots) - 1):
            slot, parts = self.slots[place], self.slots[place + 1 :]
            total = _said(slot) if slot.ask is Ask.WHICH_PRODUCT else Decimal(0)
            if not total or sum(map(_said, parts)) != total:
                continue
            if all(part.product is not None and part.product in slot.candidates for part in parts):
                self.slots.pop(place)
                return

    def matching(self, mentions: Sequence[Mention]) -> Slot | None:
        """The latest slot that the mentions speak of."""
        for mention in mentions:
            if slots := self._spoken_of(mention):
                return slots[-1]
        return None

    def _spoken_of(self, mention: Mention) -> list[Slot]:
        sure = [slot for slot in self.slots if slot.product is not None]
        skus = [slot.product.sku for slot in sure if slot.product is not None]
        if mention.sku:
            return [slot for slot in sure if slot.product is not None and slot.product.sku.casefold() == mention.sku]
        found = self._index.find(mention.terms, among=skus)
        unsure = [slot for slot in self.slots if slot.product is None and slot.mention is not None]
        open_ones = [slot for slot in unsure if slot.mention and set(mention.terms) <= set(slot.mention.terms)]
        return [slot for slot in sure if slot.product in found.products] + open_ones

    def remove(self, mention: Mention, keep: Slot | None = None) -> None:
        """Cross out what the mention speaks of; without such a line, note the product for an earlier draft."""
        slots = [slot for slot in self._spoken_of(mention) if slot is not keep]
        if slots:
            self.removed += [slot.product.sku for slot in slots if slot.product is not None]
            self.slots = [slot for slot in self.slots if slot not in slots]
            return
        found = self._finder.product(mention, None, self.slots)[0]
        if len(found.products) == 1 and (keep is None or keep.product is not found.products[0]):
            self.removed.append(found.products[0].sku)

    def correct(self, slot: Slot, mention: Mention | None, amount: Amount | None) -> None:
        """Put a new quantity, size or product in the place of the slot's."""
        if slot.usual and slot.product is not None and slot.mention is None:
            slot.mention = Mention(slot.start, slot.end, sku=slot.product.sku.casefold())
        if mention is None and amount is not None and (resized := self._as_size(slot, amount)) is not None:
            mention, amount = resized, None
        if amount is not None:
            slot.amount = amount
        if mention is not None and slot.mention is not None:
            slot.mention = self._corrected(slot.mention, mention)
        elif mention is not None:
            slot.mention = mention
        slot.usual = False
        self.settle(slot)

    def _corrected(self, old: Mention, new: Mention) -> Mention:
        if self.stands_alone(new):
            return new
        like = self._index.closest(self._index.find(new.terms).products, old.terms)
        if len(like) == 1:  # "red pens, make them blue": what they have no longer goes
            return self._joined(old, new, [*new.terms, *self._index.shared(like[0], old.terms)])
        return self._joined(old, new, self._index.resized(old.terms, new.terms))

    def _as_size(self, slot: Slot, amount: Amount) -> Mention | None:
        """ "change the 12 inch to 14": a bare number is the new size where there is such a product."""
        if slot.mention is None or amount.quantity.unit or amount.quantity.value is None:
            return None
        measure = measure_of(slot.mention.terms)
        size = f"{amount.quantity.value}{measure}"
        if not measure or size not in self._index.holders:
            return None
        terms = self._index.resized(slot.mention.terms, [size])
        found = self._index.find(terms)
        return Mention(amount.start, amount.end, [size]) if len(found.products) == 1 else None

    @staticmethod
    def _joined(old: Mention, new: Mention, terms: list[str]) -> Mention:
        return Mention(
            min(old.start, new.start),
            max(old.end, new.end),
            list(dict.fromkeys(terms)),
            [*old.unknown, *new.unknown],
            trailing=new.trailing,
            sure=min(old.sure, new.sure),
        )


def _said(slot: Slot) -> Decimal:
    """The number as it was said."""
    value = slot.amount.quantity.value if slot.amount is not None else None
    return value or Decimal(0)
