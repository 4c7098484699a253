"""What goes to Xero and what its answers mean, without a Xero: bytes, errors, odd answers."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import urllib3.exceptions as http
from hypothesis import given
from hypothesis import strategies as st
from xero_python.api_client.serializer import serialize
from xero_python.exceptions import ApiSSLException

from server.accounting.books import NotSent, NumberTaken, OutcomeUnknown, Rejected, Throttled
from server.accounting.xero_errors import Reply, messages_of, refused, unanswered
from server.accounting.xero_wire import (
    References,
    Unreadable,
    booked_of,
    credit_of,
    invoice_of,
    invoices,
    moment,
    read_json,
)
from tests.support.books import BOXES, posting

REFERENCES = References("11111111-2222-3333-4444-555555555555", "200", {("SR", Decimal("0.09")): "OUTPUT"})


def sent(wanted: Any) -> str:
    """The body as the SDK puts it on the wire."""
    return json.dumps(serialize(invoices([invoice_of(wanted, REFERENCES)])))


def test_the_same_posting_is_the_same_bytes() -> None:
    one, two = posting("INV-1"), posting("INV-1", lines=(replace(BOXES),))
    assert sent(one) == sent(two)
    (invoice,) = json.loads(sent(one))["Invoices"]
    assert (invoice["InvoiceNumber"], invoice["Status"], invoice["LineAmountTypes"]) == (
        "INV-1",
        "AUTHORISED",
        "Exclusive",
    )
    (line,) = invoice["LineItems"]
    assert (line["Quantity"], line["UnitAmount"], line["TaxType"], line["AccountCode"]) == (100, 0.65, "OUTPUT", "200")
    assert not {"LineAmount", "TaxAmount"} & line.keys(), "what Xero computes is left to it"
    assert not {"SubTotal", "TotalTax", "Total"} & invoice.keys()


@given(
    quantity=st.decimals("0.0001", "1000000", places=4, allow_nan=False),
    price=st.decimals("0.0001", "1000000", places=4, allow_nan=False),
)
def test_amounts_arrive_as_they_were(quantity: Decimal, price: Decimal) -> None:
    wanted = posting("INV-1", lines=(replace(BOXES, quantity=quantity, unit_price=price),))
    (line,) = read_json(sent(wanted).encode())["Invoices"][0]["LineItems"]
    assert (line["Quantity"], line["UnitAmount"]) == (quantity, price)


@pytest.mark.parametrize("number", ["0.00001", "12345678901234567.0001", "0.65001"])
def test_what_would_not_arrive_is_not_sent(number: str) -> None:
    for line in (replace(BOXES, unit_price=Decimal(number)), replace(BOXES, quantity=Decimal(number))):
        with pytest.raises(Rejected, match="PB-12"):
            invoice_of(posting(lines=(line,)), REFERENCES)


def test_a_credit_note_has_the_lines_of_its_invoice() -> None:
    wanted = posting("INV-1")
    note, invoice = serialize(credit_of(wanted, REFERENCES, "CN-INV-1")), serialize(invoice_of(wanted, REFERENCES))
    assert note["LineItems"] == invoice["LineItems"]
    assert (note["Type"], note["CreditNoteNumber"]) == ("ACCRECCREDIT", "CN-INV-1")


BOOKED = {
    "InvoiceID": "i",
    "InvoiceNumber": "INV-1",
    "Status": "AUTHORISED",
    "SubTotal": Decimal("65.00"),
    "TotalTax": Decimal("5.85"),
    "Total": Decimal("70.85"),
    "CurrencyCode": "SGD",
    "UpdatedDateUTC": "/Date(1767225600123+0000)/",
}


def test_an_invoice_is_read_exactly() -> None:
    booked = booked_of(BOOKED)
    assert (booked.tax, booked.credited) == (Decimal("5.85"), Decimal(0))
    assert booked.updated_at == datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)
    assert moment("/Date(1767225600123)/") == moment("/Date(1767225600123+1300)/")


@pytest.mark.parametrize(
    "changes",
    [{name: None} for name in BOOKED] + [{"Status": "NEW"}, {"Total": "70.85"}, {"UpdatedDateUTC": "yesterday"}],
)
def test_an_invoice_that_lacks_something_is_not_read(changes: Mapping[str, Any]) -> None:
    element = {name: value for name, value in {**BOOKED, **changes}.items() if value is not None}
    with pytest.raises(Unreadable):
        booked_of(element)


def certificate_trouble() -> ApiSSLException:
    """As the SDK raises it: the cause is in its context only."""
    raised = ApiSSLException(status=0, reason="self-signed")
    raised.__context__ = http.SSLError(ssl.SSLCertVerificationError("self-signed"))
    return raised


@pytest.mark.parametrize(
    ("error", "write", "read"),
    [
        (http.NewConnectionError(None, "refused"), NotSent, NotSent),  # type: ignore[arg-type]
        (http.NameResolutionError("xero", None, OSError()), NotSent, NotSent),  # type: ignore[arg-type]
        (http.ConnectTimeoutError(), NotSent, NotSent),
        (certificate_trouble(), NotSent, NotSent),
        (ApiSSLException(status=0, reason="EOF"), OutcomeUnknown, NotSent),
        (http.ReadTimeoutError(None, "", "slow"), OutcomeUnknown, NotSent),  # type: ignore[arg-type]
        (http.ProtocolError("reset"), OutcomeUnknown, NotSent),
        (http.IncompleteRead(1, 2), OutcomeUnknown, NotSent),
        (http.DecodeError(), OutcomeUnknown, NotSent),
    ],
)
def test_only_what_cannot_have_arrived_was_not_sent(error: Any, write: type, read: type) -> None:
    silence = unanswered(error)
    assert type(silence.judged(write=True)) is write
    assert type(silence.judged(write=False)) is read


def validation(*messages: str) -> bytes:
    errors = [{"Message": message} for message in messages]
    return json.dumps({"ErrorNumber": 10, "Elements": [{"ValidationErrors": errors}]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "write", "read"),
    [
        (400, validation("A", "B"), Rejected, Rejected),
        (400, validation("Invoice # must be unique."), NumberTaken, NumberTaken),
        (400, b"half of", Rejected, Rejected),
        (400, b"[1]", Rejected, Rejected),
        (404, b"", Rejected, Rejected),
        (413, b"", Rejected, Rejected),
        (408, b"", OutcomeUnknown, NotSent),
        (409, b"", OutcomeUnknown, NotSent),
        (429, b"", Throttled, Throttled),
        (302, b"", OutcomeUnknown, NotSent),
        (500, b"", OutcomeUnknown, NotSent),
        (503, b"", OutcomeUnknown, NotSent),
    ],
)
def test_every_status_means_something(status: int, body: bytes, write: type, read: type) -> None:
    reply = Reply(status, {}, body)
    assert type(refused(reply, write=True)) is write
    assert type(refused(reply, write=False)) is read


def test_messages_are_all_of_xeros_once_each() -> None:
    inner = {"ValidationErrors": [{"Message": "A"}], "Contact": {"ValidationErrors": [{"Message": "C"}]}}
    line = {"ValidationErrors": [{"Message": "L"}, {"Message": "A"}]}
    body = json.dumps({"Elements": [{**inner, "LineItems": [line]}]}).encode()
    assert messages_of(Reply(400, {}, body)) == ["A", "C", "L"]
    assert messages_of(Reply(403, {}, b'{"Title":"Forbidden","Detail":"AuthenticationUnsuccessful"}')) == [
        "AuthenticationUnsuccessful"
    ]


@pytest.mark.parametrize(
    ("headers", "limit", "wait"),
    [
        ({"x-rate-limit-problem": "minute", "retry-after": "17"}, "minute", 17),
        ({"x-rate-limit-problem": "Day", "retry-after": "4000"}, "day", 4000),
        ({"x-rate-limit-problem": "concurrent"}, "concurrent", 1),
        ({"x-rate-limit-problem": "appminute"}, "appminute", 60),
        ({"retry-after": "soon"}, "minute", 60),
        ({"x-rate-limit-problem": "day", "retry-after": "999999999"}, "day", 86_400),
        ({"x-rate-limit-problem": "minute", "retry-after": "0"}, "minute", 0.1),
    ],
)
def test_a_429_says_which_limit_and_how_long(headers: dict[str, str], limit: str, wait: float) -> None:
    reply = Reply(429, headers, b"")
    assert (reply.problem.limit, reply.problem.retry_after) == (limit, wait)
    assert (reply.spent.limit, reply.spent.block) == (limit, wait)


def test_headers_say_what_is_left() -> None:
    spent = Reply(200, {"x-minlimit-remaining": "59", "x-daylimit-remaining": "no"}, b"").spent
    assert (spent.minute_left, spent.day_left, spent.block, spent.sent) == (59, None, 0, True)


@given(st.binary(max_size=200))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    assert isinstance(messages_of(Reply(400, {}, body)), list)
