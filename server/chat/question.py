"""What a message asks: its parts, and what a sentence must hold to answer each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from server.knowledge.lexical import Lexicon, Unit

# Where one question ends and the next begins.
_PARTS = re.compile(
    r"""(?<=[?？!！。;；\n]) | (?<=[.])(?=\s+\S)
    | [,，]\s*(?=(?:and|also|plus|or|dan|juga|serta)\b|和|还有|另外)
    | \s+(?=(?:and|also|dan|juga)\s+(?:also\s+)?(?:what|when|how|where|who|which|is|are|do|does|can|apa|bila|berapa
        |macam|bagaimana|boleh|di\s+mana|siapa)\b)
    | [,，](?=\s*(?:what|when|how|where|who|which|is\s+there|do\s+you|bila|berapa|macam\s+mana|boleh)\b)
    | [,，](?=[^,，]*[多几什怎哪吗])
    | (?=还有|另外|以及)""",
    re.IGNORECASE | re.VERBOSE,
)
_ASKS = {
    "money": r"""\b(?:how\ much|costs?|price|fees?|charges?|surcharge|minimum|discount|interest|penalty|diskaun|faedah
        |caj|kos|harga|bayaran)\b | 多少钱|费|价|最低|折扣|利息|加钱|优惠""",
    "time": r"""\b(?:when|what\ (?:time|days?)|which\ days?|cut-?off|opening\ hours|until\ when|bila|pukul\ berapa
        |hari\ apa|waktu|jam\ berapa)\b | 什么时候|几点|几时|星期几|哪天|哪几天|时间|最晚|截单""",
    "duration": r"""\b(?:how\ (?:long|many\ days|soon)|within|lead\ time|berapa\ (?:lama|hari)|tempoh)\b
        | 多久|几天|多少天|多长时间|账期""",
}
_TELLS = {
    "money": r"""\b(?:SGD|RM|MYR|USD)\b | S?\$ | 新币|元|%|％ | \b(?:free|percuma)\b | 免""",
    "time": r"""\d{1,2}[:.]\d{2} | \d\s*(?:am|pm)\b | (?:mon|tues|wednes|thurs|fri|satur|sun)days?\b
        | \b(?:isnin|selasa|rabu|khamis|jumaat|sabtu|ahad)\b | 星期|周[一二三四五六日]|点""",
    "duration": r"""\d+\s*(?:(?:working|calendar)\ )?(?:minutes?|hours?|days?|weeks?|months?|minit|jam|hari|minggu|bulan
        |分钟|小时|天|日|个月|周|个工作日)""",
}
# Per kind of fact: how it is asked for, and what a sentence looks like that has it.
_KINDS = {
    kind: tuple(re.compile(pattern, re.IGNORECASE | re.VERBOSE) for pattern in (asks, _TELLS[kind]))
    for kind, asks in _ASKS.items()
}


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that part number `part` of the message asks for: a unit of meaning, or a kind of fact."""

    part: int
    unit: Unit | None = None
    kind: str = ""

    def told_by(self, text: str) -> bool:
        """Whether `text` holds the kind of fact; for a need of that sort only."""
        return bool(_KINDS[self.kind][1].search(text))


def parts(message: str) -> list[str]:
    """The questions in a message, at least one: "When do you deliver, and what does it cost?" has two."""
    found = [part.strip(" ,，;；\n") for part in _PARTS.split(message)]
    return [part for part in found if len(part) > 1] or [message]


def needs(lexicon: Lexicon, asked: Sequence[str]) -> list[Need]:
    """Everything that the parts ask for; a meaning counts once, for the part that says it first."""
    found: list[Need] = []
    seen: set[tuple[str, ...]] = set()
    for number, part in enumerate(asked):
        for unit in lexicon.question(part).units:
            key = unit.related or unit.exact
            if key not in seen:
                seen.add(key)
                found.append(Need(number, unit))
        found += [Need(number, kind=kind) for kind, (asks, _) in _KINDS.items() if asks.search(part)]
    return found
