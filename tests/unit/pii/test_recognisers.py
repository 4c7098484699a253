"""What is personal data and what only looks like it."""

from __future__ import annotations

import pytest

from server.pii.finance import iban_is_valid, issuer_lengths, luhn_is_valid
from server.pii.identity import cn_id_is_valid, mykad_is_plausible, nric_is_valid
from server.pii.kinds import Kind
from server.pii.scan import scan


def found(text: str) -> list[tuple[str, str]]:
    return [(span.kind.value, text[span.start : span.end]) for span in scan(text)]


@pytest.mark.parametrize("nric", ["S1234567D", "T1234567J", "F1234567N", "G1234567X", "M1234567K"])
def test_nric_check_letters(nric: str) -> None:
    assert nric_is_valid(nric)
    wrong = nric[:8] + ("A" if nric[8] != "A" else "B")
    assert not nric_is_valid(wrong)
    assert found(f"ic {nric.lower()}.") == [("SG_NRIC", nric.lower())]
    assert found(f"docket {wrong}") == []


def test_checks_of_other_numbers() -> None:
    assert luhn_is_valid("4111111111111111")
    assert not luhn_is_valid("4111111111111112")
    assert iban_is_valid("GB29NWBK60161331926819")
    assert not iban_is_valid("GB28NWBK60161331926819")
    assert cn_id_is_valid("11010519491231002X")
    assert not cn_id_is_valid("110105194912310021")
    assert not cn_id_is_valid("11010519491331002X")
    assert mykad_is_plausible("900307145678")
    assert not mykad_is_plausible("901307145678")
    assert not mykad_is_plausible("900307175678")


@pytest.mark.parametrize(
    ("leading", "length"),
    [("2221000000000000", 16), ("2720990000000000", 16), ("6212345678901234567", 19), ("378282246310005", 15)],
)
def test_issuers(leading: str, length: int) -> None:
    assert length in issuer_lengths(leading)
    assert issuer_lengths("2220990000000000") == frozenset()
    assert issuer_lengths("2721000000000000") == frozenset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("９１２３\u00a04567", [("PHONE", "９１２３\u00a04567")]),
        ("9\u200b1\u200b234567", [("PHONE", "9\u200b1\u200b234567")]),
        ("9123–4567", [("PHONE", "9123–4567")]),
        ("nine one two three four five six seven", [("PHONE", "nine one two three four five six seven")]),
        ("john (at) example (dot) com", [("EMAIL", "john (at) example (dot) com")]),
        ("2001:db8::1 and 10.1.2.3", [("IP_ADDRESS", "2001:db8::1"), ("IP_ADDRESS", "10.1.2.3")]),
        ("我叫陈伟明，电话91234567", [("PERSON", "陈伟明"), ("PHONE", "91234567")]),
        ("+65 9123 4567 20 boxes", [("PHONE", "+65 9123 4567")]),
        ("Goh Jun Jie here", [("PERSON", "Goh Jun Jie")]),
        ("Encik Ahmad bin Ali", [("PERSON", "Ahmad bin Ali")]),
        ("Tuan Haji Kadir", [("PERSON", "Kadir")]),
        ("Ah Seng knows", [("PERSON", "Ah Seng")]),
        ("请联系林国强", [("PERSON", "林国强")]),
        ("hp:91234567", [("PHONE", "91234567")]),
        ("Tel.91234567", [("PHONE", "91234567")]),
        ("hp91234567", [("PHONE", "91234567")]),
        ("91234567/81234567", [("PHONE", "91234567"), ("PHONE", "81234567")]),
        ("phone=91234567&x=1", [("PHONE", "91234567")]),
        ("card:4111111111111111", [("CREDIT_CARD", "4111111111111111")]),
        ("visa4111111111111111", [("CREDIT_CARD", "4111111111111111")]),
        ("4111111111111111,12/27,123", [("CREDIT_CARD", "4111111111111111")]),
        ("__4111 1111 1111 1111__", [("CREDIT_CARD", "4111 1111 1111 1111")]),
        ("card four" + " one" * 15, [("CREDIT_CARD", "four" + " one" * 15)]),
        ("四" + "一" * 15, [("CREDIT_CARD", "四" + "一" * 15)]),
        ("4111 - 1111 - 1111 - 1111", [("CREDIT_CARD", "4111 - 1111 - 1111 - 1111")]),
        ("john%40example.com", [("EMAIL", "john%40example.com")]),
        ("65.9123.4567", [("PHONE", "65.9123.4567")]),
        ("E1234567 is my passport", [("PASSPORT", "E1234567")]),
        ("DOB 1990年1月2日", [("DOB", "1990年1月2日")]),
        ("name: 王小明", [("PERSON", "王小明")]),
        ("icS1234567D", [("SG_NRIC", "S1234567D")]),
        ("ic:900307145678", [("MY_NRIC", "900307145678")]),
        ("a_at_example_dot_com", [("EMAIL", "a_at_example_dot_com")]),
        ("raj@example [.] com", [("EMAIL", "raj@example [.] com")]),
        ("pay 3012345678 (UOB)", [("BANK_ACCOUNT", "3012345678")]),
        ("Jalan Raja Chulan, 50200 Kuala Lumpur", [("ADDRESS", "Jalan Raja Chulan, 50200 Kuala Lumpur")]),
        ("9123 4567 is the order hotline", [("PHONE", "9123 4567")]),
        ("(65) 6298 4471", [("PHONE", "(65) 6298 4471")]),
        ("order 10293, 9123 4567", [("PHONE", "9123 4567")]),
        ("the refund account is still 0729-03-481162", [("BANK_ACCOUNT", "0729-03-481162")]),
        ("bank acct no 0049158820", [("BANK_ACCOUNT", "0049158820")]),
        ("dial 0060 12-338 9014", [("PHONE", "0060 12-338 9014")]),
        ("pay to 0123459980", [("PHONE", "0123459980")]),  # people are paid by their telephone number as well
        ("the bank called me from 012-345 6789", [("PHONE", "012-345 6789")]),
        ("akaun 151228903347", [("BANK_ACCOUNT", "151228903347")]),  # whatever date that could be
        ("ic 151228903347", [("MY_NRIC", "151228903347")]),
        ("退款请打进华侨银行502-118832-001", [("BANK_ACCOUNT", "502-118832-001")]),
        ("my wife Peiling will sign", [("PERSON", "Peiling")]),
        ("my son Jun Kai", [("PERSON", "Jun Kai")]),
        ("hi Yusri, any update", [("PERSON", "Yusri")]),
        ("cc Darshan and Mei Xuan", [("PERSON", "Darshan"), ("PERSON", "Mei Xuan")]),
        ("9455 0271 (Hock Seng)", [("PHONE", "9455 0271"), ("PERSON", "Hock Seng")]),
        ("the driver (Shahrizal) left it", [("PERSON", "Shahrizal")]),
        ("it was Kelvin who told me", [("PERSON", "Kelvin")]),
        ("suami saya Kamaruddin akan ambil", [("PERSON", "Kamaruddin")]),
        ("财务林晓燕说", [("PERSON", "林晓燕")]),
        ("找颜姐", [("PERSON", "颜")]),
    ],
)
def test_found(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "order 91234567",
        "$91234567",
        "AB-91234567",
        "91234567-3",
        "version 10.2.3.4",
        "v1.2.3.4",
        "std::vector",
        "10:20:30",
        "1763855000 seconds",
        "UEN 202312345K",
        "123e4567-e89b-42d3-a456-426614174000",
        "订单号91234567",
        "pesanan 81234567",
        "31122024 is the date",
        "4111 1111 1111 1112",
        "Lee Kum Kee sauce for Ang Mo Kio",
        "look at example.com",
        "order_4111111111111111",
        "x4111111111111111x",
        "SO91234567",
        "approved by Finance",
        "老板马上来",
        "product name: 大号杯",
        "联系方式",
        "unit 5, please",
        "see us @ home. In June",
        "one two three testing",
        "Jun is busy",
        "the driver Late again",
        "friend Request",
        "saya Setuju, terima kasih",
        "the code on the lid is 83450912",
        "dockets 93302218, 93302219 and 93302220",
        "91120347 was cancelled",
        "91230088 (order no)",
        "nine eight one one two two three four is our order number",
        "we need 90000000",
        "approx 80123456",
        "OCBC advice 26040088123",
        "cheque DBS 330187",
        "our account with you since 2019, over 200000 cups",
        "Regards,\nGolden Wok Catering",
        "approved by HQ",
        "Ask for Kraft bowls",
        "Dear Supplier, kindly revise",
        "this is Ridiculous",
        "My boss Sunday never works",
        "来自美国的财务",
        "",
    ],
)
def test_not_found(text: str) -> None:
    assert found(text) == []


def test_every_kind_is_found_somewhere_in_the_labelled_set() -> None:
    from server.pii.evaluation import load  # noqa: PLC0415 - keeps the other tests independent of the file

    assert {span.kind for message in load() for span in scan(message.text)} == set(Kind)
