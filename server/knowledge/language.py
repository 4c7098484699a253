"""Which of the desk's languages a text is in: by script, then by the words that only one language uses.

Deterministic and without a model: the texts are short, mixed ("got MOQ or not ah") and of three known languages, where
statistical detectors guess Indonesian, Tagalog or Dutch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"[a-z]+")

_ENGLISH_WORDS = """
a about all already also an and any anything are as at be been before but by can cannot could deliver delivery did do
does else ever fast for free from get go got had has have here how i if in into is it just know last like long look
make many me more much must my need new next no not now of off on one only or order our out please than that the their
them then there they this time to today tomorrow too under up us use want was we were what when where which while who
why will with would yes you your
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_MALAY_WORDS = """
ada adakah akan aku ambil ambik anda apa apakah atau awak bagaimana bagi bahan baharu baik baki barang baru bawah
bayar belum beli berapa berminyak bila boleh bukan cawan cuti dah dalam dan dapat dari daripada dekat dengan di dia
gudang guna hantar harga hari hendak ialah ini itu jadi jam jangan jika juga jumlah kah kalau kami kat ke kedai kena
kenapa kepada kerana kita korang kotak kurang lagi lagi lah lambat lebih lepas macam mahu malam mana masa masih
melalui mesti minta nak nanti ni nombor orang pagi pakai pada paling penghantaran pergi perlu pesanan petang pukul pun
punya sahaja saja salah sampai saya sebelum selepas semua sudah supaya tak takde tapi tarikh tarik telah tempoh terima
tiada tidak tolong tu untuk waktu yang adalah tutup buka siapa jual cuaca
"""
_MALAY = frozenset(_MALAY_WORDS.split())
_MALAY_SHAPE = re.compile(
    r"(?:peng|meng|mem|peny|meny|ber|ter)[a-z]{3,}(?:an|kan|i)?|[a-z]{3,}(?:nya|kan)|di[a-z]{3,}kan"
)


@dataclass(frozen=True, slots=True)
class Detected:
    """`language` is en, zh or ms; `confidence` in [0, 1] is 0.34 when nothing in the text tells and en is assumed."""

    language: str
    confidence: float


def detect(text: str) -> Detected:
    """The main language of `text`. One Chinese character counts as half a word of another language."""
    chinese = len(_CJK.findall(text)) / 2
    words = _WORD.findall(text.lower())
    if chinese and chinese >= len(words) * 0.4:
        return Detected("zh", chinese / (chinese + len(words)))
    malay = sum(1.0 if word in _MALAY else 0.4 if _MALAY_SHAPE.fullmatch(word) else 0.0 for word in words)
    english = sum(1.0 for word in words if word in _ENGLISH)
    if not malay and not english:
        return Detected("en", 0.34)
    if malay > english:
        return Detected("ms", malay / (malay + english))
    return Detected("en", english / (malay + english))
