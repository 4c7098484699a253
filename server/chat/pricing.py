"""What tokens cost, from a price table in configuration, and how many tokens a text has when nobody counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

from server.chat.completions import UsageReport


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """Prices of one model in `PriceTable.currency` per million tokens."""

    input: Decimal
    cached_input: Decimal
    output: Decimal


@dataclass(frozen=True, slots=True)
class PriceTable:
    """A dated set of prices; `version` is stored beside every cost so that it can be explained later."""

    version: str
    currency: str = "USD"
    models: Mapping[str, ModelPrice] = field(default_factory=dict)

    def cost_micros(self, model: str, usage: UsageReport) -> int | None:
        """Millionths of `currency`, rounded half up; None when the model has no price.

        A price per million tokens is the price of one token in micros, so the sum needs no scaling. Cached input
        is part of input and reasoning is part of output, as providers report them.
        """
        price = self.models.get(model)
        if price is None:
            return None
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        cost = (
            price.input * (usage.input_tokens - cached)
            + price.cached_input * cached
            + price.output * usage.output_tokens
        )
        return int(cost.to_integral_value(ROUND_HALF_UP))


# A run of Latin letters, a run of digits, or any other single visible character (Chinese above all).
_PIECE = re.compile(r"[A-Za-z\u00c0-\u024f]+|[0-9]+|[^\s]")
_LETTERS_PER_TOKEN = 5
_DIGITS_PER_TOKEN = 3


def estimate_tokens(text: str) -> int:
    """About how many tokens a BPE tokenizer of today makes of `text`; for bills of streams that were cut.

    One per started five letters of a Latin word (an English word is mostly one token, a Malay word with its affixes two
    or three), one per started three digits, one per Chinese character or mark. It errs on the high side: newer
    vocabularies join Chinese words and punctuation. No tokenizer's vocabulary is available offline.
    """
    tokens = 0
    for piece in _PIECE.findall(text):
        if piece[0].isdecimal():
            tokens += -(-len(piece) // _DIGITS_PER_TOKEN)
        else:
            tokens += -(-len(piece) // _LETTERS_PER_TOKEN)
    return tokens
