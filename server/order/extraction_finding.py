"""Which product of the catalogue a mention means, and what its quantity is in the unit of sale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from server.order.extraction_index import NOTHING, WEIGHED, CatalogueIndex, Found, amount_of, measure_of
from server.order.extraction_parts import Amount, Mention
from server.order.extraction_quantities import (
    UNIT_WORDS,
    Measure,
    Misfit,
    Quantity,
    by_piece,
    in_units_of_sale,
    same_unit,
)
from server.order.extraction_questions import Ask
from server.order.product import CatalogueProduct

# How sure a product is that only the outlet's history, or only the product said before, told from its likes.
_BY_HISTORY, _BY_CONTEXT, _PART_OF_IT = 0.85, 0.8, 0.85
# The unit word is not the one that the product is sold by.
_OTHER_UNIT = 0.9
_LONGEST_NAME = 10
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


class ProductFinder:
    """Finds in one catalogue. `history` are SKUs that decide between products that fit equally."""

    def __init__(self, index: CatalogueIndex, history: frozenset[str]) -> None:
        self._index = index
        self._history = history

    def settle(self, slot: Slot, slots: Sequence[Slot]) -> None:
        """Find the product and the quantity of what was said; `slots` are the others, in order."""
        slot.product, slot.candidates, slot.quantity, slot.ask = None, (), None, None
        if slot.mention is None:
            slot.ask = Ask.UNKNOWN_PRODUCT
            return
        places = [item for item in (slot.mention, slot.amount) if item is not None]
        slot.start, slot.end = min(item.start for item in places), max(item.end for item in places)
        quantity = slot.amount.quantity if slot.amount is not None else None
        found, sure = self.product(slot.mention, quantity, slots)
        slot.candidates = found.products
        if quantity is None and not found.products and self._measured(slot):
            return
        guessed = bool(slot.mention.sku) and not found.exact
        if len(found.products) != 1 or guessed or slot.mention.unknown or (slot.mention.trailing and not found.exact):
            _unsure(slot)
            return
        product = found.products[0]
        if self._too_little(slot.mention, found, quantity, slots):
            slot.ask = Ask.WHICH_PRODUCT
            return
        if quantity is None or quantity.value is None:
            slot.ask = Ask.HOW_MANY if quantity is not None or slot.ordered else None
            return
        value, misfit, same = in_units_of_sale(product, quantity, unit_is_name=self._unit_is_name(slot, product))
        slot.product, slot.quantity = product, value
        slot.ask = _MISFITS.get(misfit) if misfit is not None else None
        slot.confidence = round(sure * (1.0 if same else _OTHER_UNIT), 3)

    def _measured(self, slot: Slot) -> bool:
        """ "4 kg of chocolate chips" of a product of 1 kg are four; what is no whole number of them is asked about."""
        terms = slot.mention.terms if slot.mention is not None else []
        sizes = [term for term in terms if measure_of([term]) in WEIGHED]
        found = self._index.find([term for term in terms if term not in sizes])
        if len(sizes) != 1 or not found.products:
            return False
        slot.candidates = found.products
        if len(found.products) > 1:  # 20 kg of what is sold by 5 and by 10
            slot.ask = Ask.WHICH_PRODUCT if self._all_measured(found.products, sizes) else None
            return slot.ask is not None
        product = found.products[0]
        size = self._index.size_of(product, measure_of(sizes))
        if not size or product.pack_size > 1 or not self._index.shared(product, terms):
            return False
        quantity, rest = divmod(amount_of(sizes[0]), size)
        if rest or not quantity:
            slot.ask = Ask.WHICH_PRODUCT
            return True
        slot.product, slot.quantity, slot.confidence = product, quantity, _BY_CONTEXT
        return True

    def _all_measured(self, products: Sequence[CatalogueProduct], sizes: Sequence[str]) -> bool:
        return all(self._index.size_of(product, measure_of(sizes)) for product in products)

    def _too_little(self, mention: Mention, found: Found, quantity: Quantity | None, slots: Sequence[Slot]) -> bool:
        """One word of a longer name is enough only if the thing is called so and the unit is its own: "5 packs of
        tissue" are no cartons of wet tissue."""
        if quantity is None or found.exact or found.chosen or len(mention.terms) != 1:
            return False
        if any(map(str.isdigit, mention.terms[0])):  # a size or a model tells the product
            return False
        product = found.products[0]
        if "\u3400" <= mention.terms[0] <= "\u9fff":
            return quantity.measure is Measure.PACK and not same_unit(product, quantity)
        before = slots[-1] if slots else None
        if before is not None and before.product is not None and self._index.alike(before.product, product):
            return False  # "4 large teapots and 6 of the small"
        if any(slot.ask is Ask.WHICH_PRODUCT and product in slot.candidates for slot in slots):
            return False  # "cloths, 3 packs: 2 red, 1 green"
        called = self._index.named(product, mention.terms[0])
        packs = quantity.measure is Measure.PACK and not same_unit(product, quantity)
        return not called or (packs and not by_piece(product))

    def _unit_is_name(self, slot: Slot, product: CatalogueProduct) -> bool:
        if slot.amount is None or slot.mention is None:
            return False
        unit = slot.amount.quantity.unit
        return bool(unit) and unit not in slot.mention.terms and self._index.named(product, unit)

    def product(self, mention: Mention, quantity: Quantity | None, slots: Sequence[Slot]) -> tuple[Found, float]:
        """The products that a mention may mean, and how surely."""
        if mention.sku:
            product = self._index.by_sku(mention.sku)
            if product is None and (nearly := self._index.nearly_sku(mention.sku)) is not None:
                return Found((nearly,), _OTHER_UNIT, exact=True), _OTHER_UNIT
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
            return self._decided(mention, found, slots)
        return found, found.score * mention.sure

    def _exact_part(self, terms: Sequence[str]) -> Found:
        """ "chopsticks delivery" is chopsticks: the one name that begins or ends what was said, sizes included."""
        for size in range(min(len(terms), _LONGEST_NAME) - 1, 0, -1):
            for part, rest in ((terms[:size], terms[size:]), (terms[len(terms) - size :], terms[: len(terms) - size])):
                found = self._index.find(part)
                if found.exact and len(found.products) == 1 and not any(term[0].isdigit() for term in rest):
                    return found if not any(map(self._names_another, rest)) else NOTHING
        return NOTHING

    def _names_another(self, term: str) -> bool:
        return term not in UNIT_WORDS and self._index.is_head(term)

    def _decided(self, mention: Mention, found: Found, slots: Sequence[Slot]) -> tuple[Found, float]:
        """Of products that fit equally the one that the outlet buys, or the one most like what was said before."""
        known = tuple(product for product in found.products if product.sku in self._history)
        if len(known) == 1:
            return Found(known, found.score, chosen=True), _BY_HISTORY * mention.sure
        said = [slot for slot in reversed(slots) if slot.mention and slot.mention.terms]
        before = next(
            (slot for slot in said if slot.mention and self.stands_alone(slot.mention)), next(iter(said), None)
        )
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


def _unsure(slot: Slot) -> None:
    if slot.amount is not None or slot.ordered:
        slot.ask = Ask.WHICH_PRODUCT if len(slot.candidates) > 1 else Ask.UNKNOWN_PRODUCT
