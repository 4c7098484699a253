"""What a message asks: its parts, and what a sentence must hold to answer each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from server.knowledge.lexical import Lexicon, Unit

_MOST_PARTS = 4
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


# How a kind of fact is asked for. These words say what sort of answer is wanted and not what it is about: a text on how
# long we keep data is no answer to how long one has to pay.
_FORMS = re.compile(
    r"""how\ (?:long|many\ days|soon|much|early|late|fast) | when | what\ (?:time|days?) | which\ days?
        | berapa(?:\ (?:lama|hari|harga|banyak))? | bila | pukul\ berapa | hari\ apa | tempoh
        | 要?多久 | [几多少]+天 | 什么时候 | 几点 | 几时 | 多少钱? | 多长时间 | 需要多久""",
    re.VERBOSE,
)


# Where a kind of fact about one thing has a name of its own in the search's vocabulary: how long one has to pay is the
# credit term, how long data are kept the retention.
_ASPECTS = {
    ("@payment", "duration"): "@credit_terms",
    ("@payment", "time"): "@credit_terms",
    ("@personal_data", "duration"): "@retention",
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
    """The questions in a message, at least one: "When do you deliver, and what does it cost?" has two.

    Each costs a search, so a message that asks for more than a person would has its first ones answered.
    """
    found = dict.fromkeys(part.strip(" ,，;；\n") for part in _PARTS.split(message))
    return [part for part in found if len(part) > 1][:_MOST_PARTS] or [message]


def needs(lexicon: Lexicon, asked: Sequence[str]) -> list[Need]:
    """Everything that the parts ask for; a meaning counts once, for the part that says it first."""
    found: list[Need] = []
    seen: set[tuple[str, ...]] = set()
    for number, part in enumerate(asked):
        kinds = [kind for kind, (asks, _) in _KINDS.items() if asks.search(part)]
        for unit in _told_apart(lexicon.question(part).units, kinds):
            key = unit.related or unit.exact
            if key not in seen:
                seen.add(key)
                found.append(Need(number, unit))
        found += [Need(number, kind=kind) for kind in kinds]
    return found


def _told_apart(units: Sequence[Unit], kinds: Sequence[str]) -> Iterator[Unit]:
    """The units that are about something, and what asking for a kind of fact makes of them."""
    for unit in units:
        if _FORMS.fullmatch(unit.word) or _stray(unit):
            continue
        yield unit
        for concept in unit.related:
            yield from (Unit(unit.word, (), (aspect,)) for kind in kinds if (aspect := _ASPECTS.get((concept, kind))))


def _stray(unit: Unit) -> bool:
    """A Chinese character that no word explains is as often half of another word."""
    return len(unit.word) == 1 and not unit.related and not unit.word.isascii()
