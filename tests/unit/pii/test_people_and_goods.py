"""Names of people beside what is written like them: goods, shops, dishes and greetings."""

from __future__ import annotations

import pytest

from server.pii.kinds import Kind
from server.pii.scan import scan
from tests.support.catalogues import product_names

_FRAMES = (
    "Looking for {} 500",
    "looking for {}",
    "I need {}",
    "any {}?",
    "cari {}",
    "nak cari {} 20 kotak",
    "采购{}",
    "找{}",
    "老板{}有没有",
    "order 20 {} please",
    "we want {} for Friday",
    "is {} in stock",
    "send {} to the shop",
    "Hi, 50 {} plain",
    "with {}",
    "from {} 20",
    "ask for {}",
    "this is {}",
    "thanks, {} 20",
    "交给{}",
)


def people(text: str) -> list[str]:
    return [text[span.start : span.end] for span in scan(text) if span.kind is Kind.PERSON]


@pytest.mark.parametrize("frame", _FRAMES)
def test_no_product_of_a_catalogue_is_somebody(frame: str) -> None:
    assert [(text, found) for name in product_names() if (found := people(text := frame.format(name)))] == []


@pytest.mark.parametrize(
    "text",
    [
        "采购白卡盒500个",
        "采购陶瓷茶杯",
        "采购蓝色圆珠笔10箱",
        "采购高筋面粉",
        "采购龙虾盒",
        "交给高层",
        "Looking for Cawan 500",
        "Looking for Greaseproof",
        "Looking for Vanilla",
        "looking for Jasmine green tea",
        "cari Bekas Kertas 650ml",
        "ask for Matte finish",
        "leave with Receptionist",
        "this is Crazy",
        "Hi Greenpack, order 5 ctn",
        "Hi Ecopak, any stock?",
        "Hi Assalamualaikum, nak 10 kotak",
        "Hello Sayang",
        "Hi Dapur",
        "Hi Towkay",
        "Hi Babe",
        "Thanks Alot",
        "Thanks, Cheers",
        "Saya Peniaga dari Klang",
        "Daniel's Bakery needs 10 boxes",
        "from Daniel's Bakery",
        "Rosie's Kitchen order 10 ctn",
        "Wendy's needs 5 ctn",
        "order from Wendy's",
        "Jamie's Italian",
        "Nathan, our usual brand",
        "我是金沙茶餐室的",
        "我是万记面包店",
        "我是陈记的",
        "老板高温杯有没有",
        "找何种盖子合适",
        "叫金沙快递送",
        "Bee Hoon and Kai Lan",
        "for Bee Hoon and Kai Lan",
        "Xiao Long Bao tray",
        "from teh tarik dust",
        "with low protein flour",
        "Looking for brown sugar syrup",
        "im may be late",
        "this is Vanilla from batch 3",
        "this is Vanilla from your last delivery",
        "thanks,\nwill order again",
        "thanks\njasmine tea 20",
        "小麦来了吗",
        "找小号碗",
        "小方盒会来吗",
        "老板说明天送",
    ],
)
def test_nobody(text: str) -> None:
    assert people(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hi im sarah from toast box", ["sarah"]),
        ("thanks,\njason", ["jason"]),
        ("- Jason", ["Jason"]),
        ("20 boxes pls\n- Jason", ["Jason"]),
        ("FAO Jeremy", ["Jeremy"]),
        ("cp: Haslinda", ["Haslinda"]),
        ("Person to contact - Haslinda", ["Haslinda"]),
        ("Hi Yusri, any news", ["Yusri"]),
        ("Looking for Jeremy, is he in", ["Jeremy"]),
        ("look for Jasmine at the counter", ["Jasmine"]),
        ("tell the driver to look for Thinagar", ["Thinagar"]),
        ("call Thinagar when you are here", ["Thinagar"]),
        ("this is Thinagar from Toast Box", ["Thinagar"]),
        ("this is grace from toast box", ["grace"]),
        ("ask for Loges at the counter", ["Loges"]),
        ("Marcus's on leave", ["Marcus"]),
        ("我是小陈，要补货", ["小陈"]),
        ("thats Melissa's desk number", ["Melissa"]),
        ("Joanne, our cashier", ["Joanne"]),
        ("with lee shu fen", ["lee shu fen"]),
        ("ask for Lim Bee Hoon", ["Lim Bee Hoon"]),
        ("收货人 小红", ["小红"]),
        ("请找阿明签收", ["阿明"]),
        ("小陈会来拿货", ["小陈"]),
        ("老王说", ["老王"]),
        ("交给陈小明", ["陈小明"]),
        ("采购叫林美玲", ["林美玲"]),
        ("找陈伟明拿杯子", ["陈伟明"]),
    ],
)
def test_somebody(text: str, expected: list[str]) -> None:
    assert people(text) == expected
