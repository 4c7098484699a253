"""The sheet on which a message's order is written, corrected and crossed out before it becomes lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from server.order.extraction_index import NOTHING, CatalogueIndex, Found, measure_of
from server.order.extraction_parts import Amount, Mention
from server.order.extraction_quantities import UNIT_WORDS, Measure, Misfit, Quantity, in_units_of_sale, same_unit
from server.order.extraction_questions import Ask
from server.order.product import CatalogueProduct

# How sure a product is that only the outlet's history, or only the product said before, told from its likes.
_BY_HISTORY, _BY_CONTEXT, _PART_OF_IT = 0.85, 0.8, 0.85
# The unit word is not the one that the product is sold by.
_OTHER_UNIT = 0.9
_MISFITS = {Misfit.NOT_WHOLE: Ask.NOT_WHOLE, Misfit.NO_SUCH_PACK: Ask.NO_SUCH_PACK}


@dataclass(slots=True, eq=False)
class Slot:
    """One thing that was ordered: what was said of it, and either a product with a quantity or what to ask."""

    mention: Mention | None
    amount: Amount | None
    start: int
    end: int
    ordered: bool = False
    product: CatalogueProduct | None = None
    candidates: tuple[CatalogueProduct, ...] = ()
    quantity: Decimal | None = None
    confidence: float = 1.0
    ask: Ask | None = None
    usual: bool = False


class Sheet:
    """The slots of one message. `history_skus` decide between products that fit equally."""

    def __init__(self, index: CatalogueIndex, history_skus: Iterable[str] = ()) -> None:
        self._index = index
        self._history = frozenset(history_skus)
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
        slot.product, slot.candidates, slot.quantity, slot.ask = None, (), None, None
        if slot.mention is None:
            slot.ask = Ask.UNKNOWN_PRODUCT
            return
        places = [item for item in (slot.mention, slot.amount) if item is not None]
        slot.start, slot.end = min(item.start for item in places), max(item.end for item in places)
        quantity = slot.amount.quantity if slot.amount is not None else None
        found, sure = self._product(slot.mention, quantity)
        slot.candidates = found.products
        guessed = bool(slot.mention.sku) and not found.exact
        if len(found.products) != 1 or guessed or slot.mention.unknown or (slot.mention.trailing and not found.exact):
            self._unsure(slot)
            return
        product = found.products[0]
        if self._too_little(slot.mention, found, quantity):
            slot.ask = Ask.WHICH_PRODUCT
            return
        if quantity is None or quantity.value is None:
            slot.ask = Ask.HOW_MANY if quantity is not None or slot.ordered else None
            return
        value, misfit, same = in_units_of_sale(product, quantity, unit_is_name=self._unit_is_name(slot, product))
        slot.product, slot.quantity = product, value
        slot.ask = _MISFITS.get(misfit) if misfit is not None else None
        slot.confidence = round(sure * (1.0 if same else _OTHER_UNIT), 3)

    def _too_little(self, mention: Mention, found: Found, quantity: Quantity | None) -> bool:
        """One word of a longer name is enough only if the thing is called so and the unit is its own: "5 packs of
        tissue" are no cartons of wet tissue."""
        if quantity is None or found.exact or found.chosen or len(mention.terms) != 1 or mention.terms[0][0].isdigit():
            return False
        product = found.products[0]
        if "\u3400" <= mention.terms[0] <= "\u9fff":
            return quantity.measure is Measure.PACK and not same_unit(product, quantity)
        before = self.last
        if before is not None and before.product is not None and self._index.alike(before.product, product):
            return False  # "4 large teapots and 6 of the small"
        called = self._index.named(product, mention.terms[0])
        return not called or (quantity.measure is Measure.PACK and not same_unit(product, quantity))

    def _unsure(self, slot: Slot) -> None:
        if slot.amount is None and not slot.ordered:
            return
        slot.ask = Ask.WHICH_PRODUCT if len(slot.candidates) > 1 else Ask.UNKNOWN_PRODUCT

    def _unit_is_name(self, slot: Slot, product: CatalogueProduct) -> bool:
        if slot.amount is None or slot.mention is None:
            return False
        unit = slot.amount.quantity.unit
        return bool(unit) and unit not in slot.mention.terms and self._index.named(product, unit)

    def _product(self, mention: Mention, quantity: Quantity | None) -> tuple[Found, float]:
        if mention.sku:
            product = self._index.by_sku(mention.sku)
            if product is None:
                # "PB-12" where there are PB-12-K and PB-12-P
                return Found(self._index.with_prefix(mention.sku), 0.5), 0.5
            return Found((product,), 1.0, exact=True), 1.0
        soft = [quantity.unit] if quantity is not None and quantity.unit in self._index.holders else []
        found = self._index.find(mention.terms, soft)
        if not found.products or found.score < 1.0:
            part = self._exact_part(mention.terms)
            if part.products:
                return part, _PART_OF_IT * mention.sure
        if len(found.products) > 1:
            return self._decided(mention, found)
        return found, found.score * mention.sure

    def _exact_part(self, terms: Sequence[str]) -> Found:
        """ "chopsticks delivery" is chopsticks: the one name that begins or ends what was said, sizes included."""
        for size in range(len(terms) - 1, 0, -1):
            for part, rest in ((terms[:size], terms[size:]), (terms[len(terms) - size :], terms[: len(terms) - size])):
                found = self._index.find(part)
                if found.exact and len(found.products) == 1 and not any(term[0].isdigit() for term in rest):
                    return found if not any(map(self._names_another, rest)) else NOTHING
        return NOTHING

    def _names_another(self, term: str) -> bool:
        return term not in UNIT_WORDS and self._index.is_head(term)

    def _decided(self, mention: Mention, found: Found) -> tuple[Found, float]:
        """Of products that fit equally the one that the outlet buys, or the one most like what was said before."""
        known = tuple(product for product in found.products if product.sku in self._history)
        if len(known) == 1:
            return Found(known, found.score, chosen=True), _BY_HISTORY * mention.sure
        before = next((slot for slot in reversed(self.slots) if slot.mention and slot.mention.terms), None)
        if before is None or before.mention is None or any(self._index.is_head(term) for term in mention.terms):
            return found, found.score
        terms = self._index.resized(before.mention.terms, mention.terms)
        exact = self._index.find(terms)
        like = exact.products if exact.exact else self._index.closest(found.products, terms)
        return (
            (Found(like, found.score, chosen=True), _BY_CONTEXT * mention.sure)
            if len(like) == 1
            else (found, found.score)
        )

    def stands_alone(self, mention: Mention) -> bool:
        """Whether the mention names a thing, and not only which ("300mm", "the large")."""
        return bool(mention.sku) or any(self._index.is_head(term) for term in mention.terms)

    def refine(self, mention: Mention) -> bool:
        """Add what is said to the last slot if that leaves one product: "8 rolls of foil, the 45cm"."""
        slot = self.last
        if slot is None or slot.mention is None or slot.ask is not Ask.WHICH_PRODUCT or self.stands_alone(mention):
            return False
        both = self._joined(slot.mention, mention, [*slot.mention.terms, *mention.terms])
        if len(self._index.find(both.terms).products) != 1:
            return False
        slot.mention = both
        self.settle(slot)
        return True

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
        found, _ = self._product(mention, None)
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
