"""What is said to customers about an order, in English, Chinese and Malay. Chat, RPCs and proposals say the same."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum

_DAYS = {
    "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    "zh": ("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
    "ms": ("Isnin", "Selasa", "Rabu", "Khamis", "Jumaat", "Sabtu", "Ahad"),
}


class Saying(StrEnum):
    """One thing to be said; the fields in braces are filled in."""

    EMPTY = "EMPTY"
    UNKNOWN = "UNKNOWN"
    NO_PRICE = "NO_PRICE"
    NOT_WHOLE = "NOT_WHOLE"
    BELOW_QUANTITY = "BELOW_QUANTITY"
    OUT_OF_STOCK = "OUT_OF_STOCK"
    SOLD_OUT = "SOLD_OUT"
    BELOW_MINIMUM = "BELOW_MINIMUM"
    NO_DELIVERY = "NO_DELIVERY"
    CREDIT_HOLD = "CREDIT_HOLD"
    DUPLICATE = "DUPLICATE"
    PROPOSAL_CHANGED = "PROPOSAL_CHANGED"
    PROPOSAL_EXPIRED = "PROPOSAL_EXPIRED"
    PROPOSAL_CONFIRMED = "PROPOSAL_CONFIRMED"
    PROPOSAL_REJECTED = "PROPOSAL_REJECTED"
    REPRICED = "REPRICED"
    NOT_NOW = "NOT_NOW"
    PAID = "PAID"
    ORDER_TITLE = "ORDER_TITLE"
    CHANGE_TITLE = "CHANGE_TITLE"
    CANCEL_TITLE = "CANCEL_TITLE"
    DELIVERY = "DELIVERY"
    SURCHARGE = "SURCHARGE"


_WORDS: Mapping[Saying, tuple[str, str, str]] = {
    Saying.EMPTY: (
        "There is nothing in this order yet. Tell us which products you need and how many.",
        "订单里还没有商品。请告诉我们需要哪些产品和数量。",
        "Pesanan ini masih kosong. Beritahu kami produk dan kuantiti yang diperlukan.",
    ),
    Saying.UNKNOWN: (
        "We do not sell a product {sku}.",
        "我们没有编号为 {sku} 的产品。",
        "Kami tidak menjual produk {sku}.",
    ),
    Saying.NO_PRICE: (
        "{name} has no price at the moment, so we cannot take it in an order yet.",
        "{name} 目前没有定价，暂时无法下单。",
        "{name} belum ada harga buat masa ini, jadi belum boleh dipesan.",
    ),
    Saying.NOT_WHOLE: (
        "{name} is sold by the {unit}; {quantity} is not a whole number.",
        "{name} 按{unit}整数销售，{quantity} 不是整数。",
        "{name} dijual mengikut {unit} penuh; {quantity} bukan nombor bulat.",
    ),
    Saying.BELOW_QUANTITY: (
        "The smallest quantity of {name} is {minimum} {unit}; you asked for {quantity}.",
        "{name} 最少订 {minimum} {unit}，您订了 {quantity}。",
        "Kuantiti minimum {name} ialah {minimum} {unit}; anda meminta {quantity}.",
    ),
    Saying.OUT_OF_STOCK: (
        "Only {available} {unit} of {name} are left; you asked for {quantity}.",
        "{name} 只剩 {available} {unit}，您订了 {quantity}。",
        "Hanya tinggal {available} {unit} {name}; anda meminta {quantity}.",
    ),
    Saying.SOLD_OUT: (
        "{name} is out of stock.",
        "{name} 已缺货。",
        "{name} kehabisan stok.",
    ),
    Saying.BELOW_MINIMUM: (
        "The smallest order is {minimum} before tax; this one comes to {subtotal}.",
        "最低订购额为 {minimum}（未税），目前为 {subtotal}。",
        "Pesanan minimum ialah {minimum} sebelum cukai; pesanan ini berjumlah {subtotal}.",
    ),
    Saying.NO_DELIVERY: (
        "We cannot deliver on {asked} any more; the next possible day is {earliest}.",
        "{asked} 已无法送货，最早可在 {earliest} 送达。",
        "Kami tidak dapat menghantar pada {asked}; hari terawal ialah {earliest}.",
    ),
    Saying.CREDIT_HOLD: (
        "Your account is on hold because of open invoices: no order can be confirmed. Please contact our accounts.",
        "因有未结账款，您的账户已暂停，订单暂时无法确认。请联系我们的财务部。",
        "Akaun anda ditahan kerana invois tertunggak: pesanan tidak dapat disahkan. Sila hubungi bahagian akaun kami.",
    ),
    Saying.DUPLICATE: (
        "You placed a very similar order, {number}, minutes ago. Do you want this one as well?",
        "您几分钟前下过非常相似的订单 {number}。还要再下这一单吗？",
        "Anda baru membuat pesanan yang hampir sama, {number}. Adakah anda mahu pesanan ini juga?",
    ),
    Saying.PROPOSAL_CHANGED: (
        "Price, stock, delivery day or the order have changed since. Nothing was ordered; please look at it again.",
        "价格、库存、送货日期或订单已有变动。尚未下单，请再确认一次。",
        "Harga, stok, hari penghantaran atau pesanan telah berubah. Belum ada yang dipesan; sila semak semula.",
    ),
    Saying.PROPOSAL_EXPIRED: (
        "This offer has run out. Nothing was ordered; here it is anew.",
        "该方案已过期，尚未下单。请确认新的方案。",
        "Cadangan ini telah tamat. Belum ada yang dipesan; ini yang baharu.",
    ),
    Saying.PROPOSAL_CONFIRMED: (
        "This was confirmed already; nothing was ordered twice.",
        "该方案已确认过，没有重复下单。",
        "Cadangan ini sudah disahkan; tiada pesanan berulang.",
    ),
    Saying.PROPOSAL_REJECTED: (
        "This was declined already. Please tell us again what you need.",
        "该方案已被拒绝。请重新告诉我们您的需求。",
        "Cadangan ini sudah ditolak. Sila beritahu semula apa yang anda perlukan.",
    ),
    Saying.REPRICED: (
        "Prices have changed since this order was made. Please look at it again before you confirm.",
        "下单后价格有变动，请再看一次后确认。",
        "Harga telah berubah sejak pesanan ini dibuat. Sila semak semula sebelum mengesahkan.",
    ),
    Saying.NOT_NOW: (
        "This order is {state}: it cannot be {move} now.",
        "该订单{state}，现在无法{move}。",
        "Pesanan ini {state}: ia tidak boleh {move} sekarang.",
    ),
    Saying.PAID: (
        "Order {number} is paid already. Our staff must cancel it, because money goes back; please ask a colleague.",
        "订单 {number} 已付款。取消需退款，须由我们的同事办理；请联系同事。",
        "Pesanan {number} sudah dibayar. Hanya kakitangan kami boleh membatalkannya kerana wang perlu dipulangkan.",
    ),
    Saying.ORDER_TITLE: ("Order for delivery on {date}", "订单，{date} 送货", "Pesanan untuk penghantaran pada {date}"),
    Saying.CHANGE_TITLE: (
        "Change of order {number}, for delivery on {date}",
        "更改订单 {number}，{date} 送货",
        "Ubah pesanan {number}, untuk penghantaran pada {date}",
    ),
    Saying.CANCEL_TITLE: ("Cancel order {number}", "取消订单 {number}", "Batalkan pesanan {number}"),
    Saying.DELIVERY: ("Delivery", "送货费", "Penghantaran"),
    Saying.SURCHARGE: ("Zone surcharge: {zone}", "区域附加费：{zone}", "Surcaj zon: {zone}"),
}
# States and moves (server/order/states.py) as people say them.
_STATES = {
    "DRAFT": ("a draft", "还是草稿", "masih draf"),
    "NEEDS_INFO": ("waiting for an answer", "在等待答复", "menunggu jawapan"),
    "CONFIRMED": ("confirmed", "已确认", "sudah disahkan"),
    "ACCEPTED": ("accepted", "已接单", "sudah diterima"),
    "FULFILLING": ("being prepared", "正在备货", "sedang disediakan"),
    "COMPLETED": ("completed", "已完成", "sudah selesai"),
    "CANCELLED": ("cancelled", "已取消", "sudah dibatalkan"),
    "REJECTED": ("declined", "已被拒绝", "sudah ditolak"),
}
_MOVES = {
    "ask": ("asked about", "询问", "ditanya"),
    "settle": ("settled", "补全", "dilengkapkan"),
    "change": ("changed", "更改", "diubah"),
    "confirm": ("confirmed", "确认", "disahkan"),
    "accept": ("accepted", "接单", "diterima"),
    "reject": ("declined", "拒绝", "ditolak"),
    "fulfil": ("prepared", "备货", "disediakan"),
    "complete": ("completed", "完成", "diselesaikan"),
    "cancel": ("cancelled", "取消", "dibatalkan"),
}
_INDEX = {"en": 0, "zh": 1, "ms": 2}


def say(saying: Saying, language: str, **fields: str) -> str:
    """The sentence in `language` ("en", "zh", "ms"), cut to what a violation or question may hold."""
    return _WORDS[saying][_INDEX[language]].format(**fields)[:500]


def say_not_now(state: str, move: str, language: str) -> str:
    """Why an order that stands so cannot be moved so."""
    place = _INDEX[language]
    return say(Saying.NOT_NOW, language, state=_STATES[state][place], move=_MOVES[move][place])


def day_text(day: date, language: str) -> str:
    """A day for people: "Tue 24 Nov 2026", "2026年11月24日（周二）", "Selasa 24/11/2026"."""
    weekday = _DAYS[language][day.weekday()]
    if language == "zh":
        return f"{day.year}年{day.month}月{day.day}日（{weekday}）"
    if language == "ms":
        return f"{weekday} {day.day}/{day.month}/{day.year}"
    return f"{weekday} {day:%-d %b %Y}"
