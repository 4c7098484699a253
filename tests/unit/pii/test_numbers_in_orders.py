"""Numbers of orders are kept and people's numbers are hidden: telephones, accounts and addresses beside products,
quantities, dates and money."""

from __future__ import annotations

import pytest

from server.pii.kinds import Kind
from server.pii.scan import scan
from tests.support.catalogues import CATALOGUES, product_names

_FRAMES = (
    "order 20 {} please",
    "Hi, order 20 {} please",
    "500 {} plain",
    "50 {} green, 50 {} black",
    "Looking for {} 500",
    "transfer done, need 200 {}",
    "paid by DBS, 200 {} for 28-11-2026 0900",
    "100 {} square, 6000 {} way too thin",
    "around 3000-4000 {} a month",
    "send 25 {} to the shop",
    "要{} 200个，采购{} 100箱",
    "nak {} 300, sudah bayar",
)
_NUMBER_KINDS = frozenset({Kind.PHONE, Kind.BANK_ACCOUNT, Kind.ADDRESS})


def numbers(text: str) -> list[tuple[str, str]]:
    return [(span.kind.value, text[span.start : span.end]) for span in scan(text) if span.kind in _NUMBER_KINDS]


def test_there_are_catalogues_to_look_at() -> None:
    assert len(CATALOGUES) == 6
    assert len(product_names()) > 1000


@pytest.mark.parametrize("frame", _FRAMES)
def test_an_order_for_a_product_holds_no_number_of_a_person(frame: str) -> None:
    orders = (frame.replace("{}", product) for product in product_names())
    assert {order: hidden for order in orders if (hidden := numbers(order))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "order contact person is 91234567",
        "the order hotline is 91234567",
        "the driver for the job is 91234567",
        "the guy who signs the bill is 91234567",
        "the machine technician is 91234567",
        "complaint line is 91234567",
        "any complaint: 91234567",
        "any complaints 91234567",
        "the receiver for parcel is 91234567",
        "order line is 91234567",
        "job site contact: 91234567",
        "the contact for order is 91234567",
        "delivery note receiver is 91234567",
        "policy is to ring 91234567",
        "the licence holder is 91234567",
        "the order was taken by my brother, his is 91234567",
        "the man with the permit is 91234567",
        "bil tu abang saya bayar, dia punya 91234567",
        "gate pass holder is 91234567",
        "the slip is with my driver 91234567",
        "91234567 is the parcel receiver",
        "91234567 is our order guy",
        "订单的司机是91234567",
    ],
)
def test_a_telephone_of_somebody_is_hidden_beside_words_of_orders(text: str) -> None:
    assert numbers(text) == [("PHONE", "91234567")]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9123-4567", "9123-4567"),
        ("9123 4567 for orders", "9123 4567"),
        ("9000 8000 is my phone", "9000 8000"),
        ("call 6000 8000", "6000 8000"),
        ("hp 9000-4500", "9000-4500"),
        ("reach us at 6000-8000", "6000-8000"),
        ("Office tel: 6200 4000", "6200 4000"),
        ("6200 4001", "6200 4001"),
        ("ring me on 9123 4567, 2000 cups", "9123 4567"),
        ("9123 4567 2000 cups", "9123 4567"),
        ("9123 4567 2 boxes", "9123 4567"),
        ("Fax it to 6309 8059 3000", "6309 8059"),
        ("Can reach me on 0182333432 200 boxes", "0182333432"),
        ("Can reach me on 0182333432 3000", "0182333432"),
        ("JB outlet hp 012-345 6789 12 Dec", "012-345 6789"),
        ("office KL 03-2345 6789 28-11-2026 0900", "03-2345 6789"),
        ("no tel 013-2208841 28-11-2026 0900", "013-2208841"),
        ("call me 9123 4567 10000 napkins", "9123 4567"),
        ("9000 4500", "9000 4500"),
    ],
)
def test_telephones_in_two_groups_are_hidden(text: str, number: str) -> None:
    assert numbers(text) == [("PHONE", number)]


@pytest.mark.parametrize(
    "text",
    [
        "the code on the lid is 83450912",
        "the code of the machine reads 83450912",
        "order for Friday is 83450912",
        "driver says order number is 91234567",
        "my staff said the tracking code is 91234567",
        "my driver's order is 91234567",
        "complaint no. 91234567",
        "PLU 80001234",
        "delivery slip 91234567",
        "gate pass 91234567",
        "form 91234567",
        "around 3000-4000 a month",
        "between 6000-8000",
        "6000 8000 for each outlet",
        "we use 3500 - 4000 monthly",
        "9556 1234 56789",
        "9556 1234 567",
    ],
)
def test_ranges_pairs_and_codes_are_no_telephones(text: str) -> None:
    assert numbers(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "transferred at 2026-11-28 1030",
        "Deliver to bank on 28-11-2026 0900",
        "UOB event 12 12 2026 0900",
        "pay in 100 200 300 400 lots",
        "wise 20000000",
        "for HSBC 20 12 2026, 150 sets",
        "bsn 28-11-2026 lunch 200 pax",
        "HSBC 500000 cups",
        "paid on 28/11/2026, 1030",
        "DBS 28112026 event",
        "bank 20261128 0900 delivery",
        "OCBC 2026-11-28",
        "otherwise 20000000 is fine",
        "UOB branch 300 400 500 napkins",
        "wise to order 20000000",
        "account 500000 cups yearly",
        "Maybank 10 000 000 cups",
        "转到12月 2026-11-28 1030 送",
        "汇丰 28-11-2026 0900 送 200个",
        "UOB event 05 12 2026 0900",
        "05-12-2026 1130",
    ],
)
def test_dates_and_counts_beside_money_are_no_accounts(text: str) -> None:
    assert numbers(text) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("DBS 0123456789", "0123456789"),
        ("DBS 012-345678-9", "012-345678-9"),
        ("UOB 3012345678", "3012345678"),
        ("wise account 20034567", "20034567"),
        ("Wise acc no. 8311093552", "8311093552"),
        ("account 28112026", "28112026"),
        ("Maybank 5140 1234 5678", "5140 1234 5678"),
        ("OCBC 501-234567-001 for the refund", "501-234567-001"),
        ("my revolut is 3904471255", "3904471255"),
        ("posb savings 123-45678-9", "123-45678-9"),
        ("refund to 3123459980 500 cups", "3123459980"),
        ("DBS 0123456789 500 cups", "0123456789"),
        ("UOB 3012345678 28 Nov", "3012345678"),
        ("refund to 3012345678 28/11", "3012345678"),
        ("DBS 012-345678-9 28-11-2026 0900", "012-345678-9"),
        ("OCBC 501-234567-001 28-11-2026 0900", "501-234567-001"),
        ("refund to 3012345678 28/11/2026", "3012345678"),
        ("pay via wise 8311093552", "8311093552"),
        ("转账到大华 3012345678 500个", "3012345678"),
    ],
)
def test_accounts_are_hidden_beside_a_bank(text: str, number: str) -> None:
    assert numbers(text) == [("BANK_ACCOUNT", number)]


@pytest.mark.parametrize(
    "text",
    [
        "Hi, order 20 Jasmine green tea 250 g please",
        "200 Napkin plain",
        "20 Lids plain",
        "Order 50 Foil Tray square please",
        "100 Sushi Tray green",
        "25 Cake Ring",
        "500 Dome Lid View",
        "500 Napkin way too thin",
        "50 Straw green, 50 Straw black",
        "200 Jasmine Green",
        "need 300 Kraft Box Square, send Friday",
        "30 Matcha Green and 20 Cake Ring",
        "12 Paper Plates turn soggy",
        "50 boxes to orchard road",
        "200 napkins for street food",
        "Send to me 200 Napkin plain",
        "change to 25 Matcha Green, 30 Matcha Plain",
        "100 Matcha Green, 12000 Matcha Plain",
        "40 Straws close to the door",
    ],
)
def test_a_quantity_and_a_product_are_no_address(text: str) -> None:
    assert numbers(text) == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("12 Sunset Way, Singapore 597071", "12 Sunset Way, Singapore 597071"),
        ("deliver to 8 Clementi Green", "8 Clementi Green"),
        ("send to 15 Pasir View #03-04", "15 Pasir View #03-04"),
        ("12 Holland Close", "12 Holland Close"),
        ("Blk 5 Bukit Batok Central", "Blk 5 Bukit Batok Central"),
        ("15 Orchard Road", "15 Orchard Road"),
        ("3 Tampines Central 1", "3 Tampines Central 1"),
        ("10 Eunos Link", "10 Eunos Link"),
        ("1 Raffles Place", "1 Raffles Place"),
        ("I live at 12 Holland close, thanks", "12 Holland close"),
        ("15 Pasir Green 529999", "15 Pasir Green 529999"),
        ("60 Paya Lebar Sq #08-01", "60 Paya Lebar Sq #08-01"),
        ("deliver to 15 orchard road", "15 orchard road"),
        ("We moved to 139 Tanjong Pagar Road 200 boxes", "139 Tanjong Pagar Road"),
        ("Send to 408 Lakeview Avenue 12 Dec", "408 Lakeview Avenue"),
        ("Blk 5 Bedok North Street 3, 20 boxes", "Blk 5 Bedok North Street 3"),
        ("our outlet is at 7 Jurong Gateway Plain", "7 Jurong Gateway Plain"),
        ("送到大牌123宏茂桥3道 #05-12", "大牌123宏茂桥3道 #05-12"),
        ("送到大牌 456 淡滨尼42街 #03-210", "大牌 456 淡滨尼42街 #03-210"),
        ("宏茂桥10道大牌123", "宏茂桥10道大牌123"),
        ("裕廊西52街大牌512 #08-44", "裕廊西52街大牌512 #08-44"),
        ("请送裕廊西52街大牌512，#08-44，谢谢", "裕廊西52街大牌512，#08-44"),
        ("大牌88勿洛北4道", "大牌88勿洛北4道"),
    ],
)
def test_addresses_are_hidden(text: str, address: str) -> None:
    assert numbers(text) == [("ADDRESS", address)]


@pytest.mark.parametrize("text", ["大牌啤酒123箱", "大牌子的杯子500个", "3道菜，大牌档用", "#1-2 道菜 大牌货"])
def test_chinese_words_of_blocks_alone_are_no_address(text: str) -> None:
    assert numbers(text) == []
