"""Order numbers: how they are made, and how they are found again in what people write."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from datetime import date

# Crockford's base 32: no letter that is read as a digit.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 5  # 33 million numbers a day
# Whole, or the last part alone where it cannot be a word or a quantity; people write it in any case.
_WHOLE = re.compile(r"(?<![A-Za-z0-9-])SO-?[0-9]{6}(?:-?[0-9A-Z]{5})?(?![A-Za-z0-9])", re.IGNORECASE | re.ASCII)
_LAST = re.compile(
    r"(?:\b(?:orders?|pesanan|no\.?|number|nombor)|订单|单号|#)[\s:#]{0,3}"
    r"((?=[0-9A-Z]{0,4}[0-9])(?=[0-9A-Z]{0,4}[A-Z])[0-9A-Z]{5})(?![A-Za-z0-9])",
    re.IGNORECASE | re.ASCII,
)


def new_number(day: date) -> str:
    """A number for an order of this day: "SO-261128-F6S1W"."""
    return f"SO-{day:%y%m%d}-" + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def said_numbers(text: str) -> list[str]:
    """The order numbers that a text names, whole or by their last part, as they are written there."""
    whole = list(_WHOLE.finditer(text))
    spans = [match.span() for match in whole]
    last = [match for match in _LAST.finditer(text) if not any(start <= match.start(1) < end for start, end in spans)]
    return [match.group() for match in whole] + [match[1] for match in last]


def is_number(number: str, said: str) -> bool:
    """Whether `said` names the order of this number."""
    mine, its = (text.upper().replace("-", "") for text in (number, said))
    return mine == its or (len(its) == _LENGTH and mine.endswith(its))


def named(text: str, numbers: Iterable[str]) -> list[str]:
    """Those of `numbers` that a text names; their last part may stand anywhere in it."""
    said = said_numbers(text)
    words = {word for word in re.findall(r"[0-9A-Z]+", text.upper()) if len(word) == _LENGTH}
    return [
        number
        for number in numbers
        if any(is_number(number, each) for each in said) or (_telling(number[-_LENGTH:]) and number[-_LENGTH:] in words)
    ]


def _telling(last: str) -> bool:
    return not last.isalpha() and not last.isdigit()
