"""What stands around a number: the words and signs that make it an order number, a price or a date instead."""

from __future__ import annotations

import re

from server.pii.patterns import Context

_LEFT = 28  # code points looked at before a number
_RIGHT = 32  # and behind it
_CLAUSE = 56  # before it, for the person that a clause is about
_ROW = 4  # how many numbers of a row are followed back to the word before the first
_ALIKE = 4  # leading digits that the numbers of one row share

# A word like "order" counts only when nothing but filler stands between it and the number.
_FILLER = (
    r"(?:\s*(?:no|nos|num|number|nombor|code|id|ref|reference|is|was|are|adalah|of|the|our|your|my|new|"
    r"old)\b|[\s.:#=_/()\-]|号码?|编号|是|为){0,6}\z"
)
_ORDER_WORDS = (
    r"orders?|ord|po|p\.o|so|do|purchase order|sales order|delivery order|invoices?|inv|quote|quotation|"
    r"quot|sku|item|"
    r"product|part|parts|model|serial|s/n|sn|batch|lot|ref|reference|tracking|awb|consignment|shipment|parcel|"
    r"ticket|case|"
    r"booking|receipt|transaction|txn|trace|request|uen|roc|brn|gst|barcode|ean|upc|gtin|isbn|hs|version|build|"
    r"qty|quantity|total|amount|price|subtotal|balance|stock|units?|epoch|timestamp|time|code|catalogue|docket|"
    r"voucher|page|figure|"
    r"pesanan|invois|resit|kuantiti|harga|jumlah|stok|barang"
)
_ORDER_WORDS_CHINESE = "订单|发票|单号|货号|型号|批次|批号|数量|价格|金额|总价|库存|编号|追踪|快递|物流|运单"
_BUSINESS_WORDS = Context(rf"(?:\b(?:{_ORDER_WORDS})|{_ORDER_WORDS_CHINESE})" + _FILLER)
# Papers, things and measures as well: enough against eight digits, too much against a number that passes a check.
_THING_WORDS = Context(
    rf"(?:\b(?:{_ORDER_WORDS}|"
    r"codes|dockets|vouchers|way ?bills?|bill|labels?|cartons?|pallets?|articles?|jobs?|tasks?|grn|rma|proforma|pr|dn|"
    r"cn|req|requisition|(?:credit|debit|delivery|packing) notes?|advice|permits?|licen[cs]es?|certificates?|cert|"
    r"documents?|doc|contracts?|claims?|policy|meter|readings?|sensor|device|machine|terminal|mou?ld|"
    r"locker|pin|sticker|tag|ids?|membership|logs?|cheques?|chq|fpx|approx|approximately|plu|slips?|forms?|"
    r"complaints? (?:no|num|number|id|ref)|(?:gate|entry|visitor|security|loading|vehicle) pass|"
    r"produk|kod|siri|rujukan|penjejakan|dokumen|baucar|lesen|aduan|bil|cek)(?: bank)?|"
    rf"{_ORDER_WORDS_CHINESE}|总共|一共|条码|代码|单据|收据|账单|合同|证号|序列号|参考|支票)"
    # "the code on the lid is": what a number of that kind says, not whom it reaches
    r"(?:(?: (?:on|of|for) (?:(?:the|our|my|your|this|that) )?[a-z]+)? (?:is|was|are|reads?|says?|shows?)\b)?" + _FILLER
)
# "the driver for the job is", "the man with the permit is": a number behind that is the person's;
# "the driver says the order number is" tells what the number is.
_OF_SOMEBODY = re.compile(
    r"(?:\b(?:contact|persons?|people|hotline|line|phone|mobile|drivers?|technicians?|guys?|man|men|lady|woman|girl|boy|"
    r"receivers?|recipients?|holder|owner|buyer|sender|boss|manager|supervisor|staff|colleague|chef|cook|cashier|"
    r"friend|wife|husband|brother|sister|son|daughter|mother|father|uncle|aunty|auntie|helper|rider|courier|"
    r"storekeeper|pemandu|orang|abang|kakak|bos|pengurus|penerima|who|whoever)\b(?!')[^\n.!?;]{0,44}"
    r"(?<!\bno )(?<!\bnos )(?<!\bnum )(?<!\bnumber )(?<!\bnombor )(?<!\bcode )(?<!\bid )(?<!\bref )(?<!\breference )"
    r"\b(?:is|was|are|adalah|ialah)|(?:司机|师傅|老板|经理|负责人|联系人|收货人|热线|客服)[^\n。！？]{0,12}[是为])"
    r"[\s:#=\-]*\Z",
    re.IGNORECASE,
)
_MONEY_BEFORE = re.compile(r"(?:[$€£¥₹#]|\b(?:sgd|usd|myr|rm|eur|gbp|cny|rmb|idr))\s?\Z", re.IGNORECASE)
_UNIT = (
    r"\s?(?:%|pcs?\b|pieces?\b|box(?:es)?\b|cartons?\b|ctns?\b|packs?\b|pkts?\b|units?\b|rolls?\b|bags?\b|"
    r"cases?\b|sleeves?\b|cups?\b|lids?\b|bowls?\b|plates?\b|trays?\b|straws?\b|napkins?\b|sheets?\b|sets?\b|pax\b|"
    r"lots?\b|kgs?\b|grams?\b|ml\b|mm\b|cm\b|inch\b|in\b(?= (?:total|stock))|dollars\b|sgd\b|usd\b|keping\b|kotak\b|"
    r"biji\b|cawan\b|个|只|箱|包|件|盒|元|块|卷|袋)"
)
# What happens to orders, parcels and papers and not to people's numbers.
_FATE = (
    r"\s(?:(?:is|was|are|were|has|have|had|still|been|not|never|already|sudah|telah|belum)\s){0,3}(?:cancell?ed|expired?|"
    r"delivered|shipped|dispatched|packed|rejected|missing|short|refunded|applied|invoiced|discontinued|unpaid|overdue|"
    r"voided|bounced|dibatalkan|tamat)\b"
)
# "is our order number", "(invoice no)", 是订单号; but "is the order hotline" is one.
_CALLED = (
    r"(?:,?\s(?:that\s)?(?:is|was|are|adalah|ialah)\s(?:the\s|my\s|our\s|your\s|an?\s)?(?:nombor\s)?|\s?\()"
    r"(?:orders?|invoices?|po|quote|quotation|sku|item|batch|lot|ref|reference|tracking|awb|way ?bill|consignment|"
    r"parcel|shipment|ticket|receipt|transaction|serial|barcode|docket|voucher|permit|licen[cs]e|pesanan|invois|resit|"
    r"rujukan)\b(?!\s(?:contact|hotline|line|phone|desk|person|mobile|whatsapp|"
    r"driver|guy|man|lady|receiver|recipient|holder|boss|manager|rider))"
    rf"|\s?(?:是|这个|那个|的)?(?:{_ORDER_WORDS_CHINESE})"
)
_UNIT_BEHIND = re.compile(_UNIT, re.IGNORECASE)
_THING_BEHIND = re.compile(f"{_UNIT}|{_FATE}|{_CALLED}", re.IGNORECASE)
LAST_GROUP = re.compile(r"\s\d{1,5}\Z")  # of digits: it may be a number of its own
_MONTH_BEHIND = re.compile(
    r"/\d|\s?(?:jan(?:uary|uari)?|feb(?:ruary|ruari)?|mar(?:ch)?|mac|apr(?:il)?|may|mei|june?|jun|july?|julai|aug(?:ust)?|"
    r"ogos|sept?(?:ember)?|oct(?:ober)?|oktober|nov(?:ember)?|dec(?:ember)?|dis(?:ember)?)\b",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_BEFORE_IN_ROW = re.compile(
    r"(?<!\d)(\d[\d\-]{4,14})\s?(?:[,&/;、]|\b(?:and|or|vs|versus|to|not|dan|atau|hingga)\b|和|与|到|至|或|及){1,2}"
    r"\s?(?:[a-z]{1,10} )?\Z",
    re.IGNORECASE,
)
_ROUND = re.compile(r"[1-9]\d{0,2}0{5,}\Z")
# "IC:" and "Michelle," end a word; "1:" and "1," go on with the number.
_JOINED_BEFORE = re.compile(r"(?:[A-Za-z0-9_$#@&=%]|[0-9][\-/.:,+*]|[A-Za-z][\-/.+*]|[A-Za-z]{2}[\-/]\s)\Z")
_JOINED_BEHIND = re.compile(r"[A-Za-z0-9_%]|[\-/.+*][A-Za-z0-9]|[:,]\d")
_LETTER = re.compile(r"[^\W\d_]")  # without one the word lists need not be tried: most of the cost on rows of numbers
_PHONE_WORDS = Context(
    r"(?:\b(?:phone|mobile|tel|telephone|handphone|hp|h/p|cell|cellphone|whatsapp|wa|call|calling|contact|ring|"
    r"sms|text|dial|fax|"
    r"reach|telefon|tel|hubungi|telepon|bimbit|wa\.me|(?:my|his|her|our|their) (?:new )?(?:no|number)|nombor saya)|"
    r"电话|手机|手机号|致电|联系|打给|打|拨打|微信|传真)"
    r"(?:\s*(?:no|num|number|nombor|is|at|on|me|us|him|her|them|ke|saya|dia|kami|di|or|and|via|by|the)\b|"
    r"[\s.:#=()+\-/]|号码?|是|为|我|他|她){0,6}\z"
)


def left(text: str, start: int) -> str:
    """The text just before `start`, at most 28 code points."""
    return text[max(0, start - _LEFT) : start]


def right(text: str, end: int) -> str:
    """The text just behind `end`, at most 32 code points."""
    return text[end : end + _RIGHT]


def is_business_number(text: str, start: int, end: int) -> bool:
    """True when the words around say that the number is an order number, a price, a quantity or the like."""
    before = left(text, start)
    if _LETTER.search(before) and _BUSINESS_WORDS.occurs(before):
        return True
    return _MONEY_BEFORE.search(before) is not None or _UNIT_BEHIND.match(right(text, end)) is not None


def is_number_of_thing(text: str, start: int, end: int, *, row: int = _ROW) -> bool:
    """The same for a number that only its length speaks for: words for things, papers and measures count too, so does
    what happens to it ("is cancelled"), and in a row of numbers the word before the first, `row` numbers back."""
    before = left(text, start)
    if _LETTER.search(before) and (
        _ROUND.match(text[start:end]) or (_THING_WORDS.occurs(before) and not _is_of_somebody(text, start))
    ):
        return True
    if _MONEY_BEFORE.search(before) or _THING_BEHIND.match(right(text, end)):
        return True
    previous = _BEFORE_IN_ROW.search(before) if row and _DIGIT.search(before) else None
    if previous is None:
        return False
    first, last = (start - len(before) + at for at in previous.span(1))
    alike = text[first : first + _ALIKE] == text[start : start + _ALIKE]
    return alike and is_number_of_thing(text, first, last, row=row - 1)


def _is_of_somebody(text: str, start: int) -> bool:
    return _OF_SOMEBODY.search(text[max(0, start - _CLAUSE) : start]) is not None


def is_counted(text: str, end: int) -> bool:
    """True when a unit stands behind a number: "500 cups"."""
    return _UNIT_BEHIND.match(right(text, end)) is not None


def is_dated(text: str, end: int) -> bool:
    """True when a month stands behind a number, which is the day: "12 Dec", "28/11"."""
    return _MONTH_BEHIND.match(right(text, end)) is not None


def is_of_its_own(text: str, end: int) -> bool:
    """True when the last group of digits before `end` is a quantity or a day, whatever number stands before it."""
    return is_counted(text, end) or is_dated(text, end)


def is_joined(text: str, start: int, end: int) -> bool:
    """True when the range is only a part of a longer code such as `AB-91234567`, `91234567-3` or `1.91234567`."""
    return _JOINED_BEFORE.search(text[max(0, start - 4) : start]) is not None or is_continued(text, end)


def is_continued(text: str, end: int) -> bool:
    """True when a code goes on behind the range."""
    return _JOINED_BEHIND.match(text[end : end + 2]) is not None


def after_phone_word(text: str, start: int) -> bool:
    """True when "call", "tel", 电话, "telefon" or the like leads up to `start`."""
    before = left(text, start)
    return _LETTER.search(before) is not None and _PHONE_WORDS.occurs(before)
