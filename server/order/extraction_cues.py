"""Words that say what a part of a message is about: ordering, asking, reporting, correcting, taking away.

The phrases are data (extraction_cues.toml)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources


class Cue(StrEnum):
    """What a phrase makes of its part of the message."""

    ORDER = "order"  # goods are wanted
    POLITE = "polite"  # "please": goods are wanted, or to know their price
    VERB = "verb"  # goods are wanted in so many words; has no table of its own
    PRICE = "price"  # what would it cost: a quote is no order
    ASK = "ask"  # any other question
    REPORT = "report"  # of what was, is or went wrong
    SET = "set"  # the next quantity or size takes the place of the one before
    DROP = "drop"  # what stands before it is not wanted
    REMOVE = "remove"  # what follows is not wanted
    CHANGE = "change"  # "change A to B"
    TO = "to"
    VOID = "void"  # "instead of A"
    USUAL = "usual"  # the lines of an earlier order
    CANCEL = "cancel"  # an order that was placed before


# What a part is about once a phrase of a table was found in it.
_MEANS = {Cue.ORDER: frozenset((Cue.ORDER, Cue.VERB)), Cue.POLITE: frozenset((Cue.ORDER,))}


def meant(cue: Cue) -> frozenset[Cue]:
    """What a phrase of the cue's table says of its part."""
    return _MEANS.get(cue, frozenset((cue,)))


@dataclass(frozen=True, slots=True)
class Hit:
    """A cue in the folded text."""

    cue: Cue
    start: int
    end: int


class Cues:
    """The phrases of extraction_cues.toml, compiled."""

    def __init__(self) -> None:
        text = resources.files("server.order").joinpath("extraction_cues.toml").read_text(encoding="utf-8")
        compiled = {Cue(name): _compiled(table) for name, table in tomllib.loads(text).items()}
        self.to = compiled.pop(Cue.TO)
        self._patterns = tuple(compiled.items())

    def find(self, text: str) -> list[Hit]:
        """The cues of a folded text by place, none inside another."""
        taken: list[Hit] = []
        free = bytearray(b"\1" * len(text))
        for cue, pattern in self._patterns:
            for match in pattern.finditer(text):
                start, end = match.span()
                if free.find(0, start, end) < 0:
                    taken.append(Hit(cue, start, end))
                    free[start:end] = bytes(end - start)
        return sorted(taken, key=lambda hit: hit.start)


def _compiled(table: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w'])(?:{'|'.join(table['words'])})(?!\w)|{'|'.join(table['chinese'])}")


# Words between a quantity and its product, or inside a product's name as people say it, that name no other product.
FILLER = frozenset(
    """a an the of for to and or with w n dgn but in on at as is are be it its this that these those them they some any
    all each per please pls plz kindly thank thanks thx tks ok okay hi hello hey dear boss bro sis morning good
    afternoon evening lah la leh lor meh ah hor sia can also too plus more extra additional another other again normal
    usual regular same standard new fresh our my your us me we i you u ur type kind size sized sizes one ones item items
    product order need want like get send give deliver add would will could should ll d m s re ve just only now asap
    urgent first next then so but from by today next week no not nice best cheapest big order stock outlet shop
    anot liao qty quantity jumlah kuantiti
    dan atau dengan untuk yang ini itu tu ni saya kami nak mahu hendak minta pesan order hantar tolong sila bagi beli
    ya je saja sahaja lagi juga jugak dalam pesanan terima kasih bos encik puan kak abang cik esok saiz jenis sama punya
    perlu perlukan tambah ambil boleh ke di dekat kat ada ganti hari ready ship package include including""".split()  # noqa: SIM905
)
JOINTS = frozenset(
    "and & + plus dan dengan sama serta also then with w dgn n but tapi 和 与 及 跟".split()  # noqa: SIM905
)
