"""The sandbox's books stay whole whatever is sent, and whatever is done in whatever order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import ValidationError

from server.embedded.xero_sandbox import credit_notes, endpoints, invoices
from server.embedded.xero_sandbox.ledger import Call, Missing, Refused, Reply
from server.embedded.xero_sandbox.sandbox import Sandbox
from server.embedded.xero_sandbox.settings import SandboxSettings
from server.embedded.xero_sandbox.wire import (
    Document,
    Malformed,
    dumps,
    loads,
    moment_of,
    ms_date,
    read_day,
    read_since,
)
from tests.support.xero import invoice

MOVES = {
    "DRAFT": {"DRAFT", "SUBMITTED", "AUTHORISED", "DELETED"},
    "SUBMITTED": {"DRAFT", "SUBMITTED", "AUTHORISED", "DELETED"},
    "AUTHORISED": {"AUTHORISED", "VOIDED", "PAID"},
    "PAID": {"PAID"},
    "VOIDED": {"VOIDED"},
    "DELETED": {"DELETED"},
}
NUMBERS = st.sampled_from(["N-1", "N-2", "N-3"])
AMOUNTS = st.sampled_from([Decimal("0.01"), Decimal("35.42"), Decimal("70.84"), Decimal("70.85"), Decimal("70.86")])
STATES = st.sampled_from(sorted(MOVES))


@contextmanager
def quiet_sandbox() -> Iterator[Sandbox]:
    """One that does not listen: its endpoints are called straight."""
    sandbox = Sandbox(SandboxSettings())
    yield sandbox
    sandbox.close()


def perform(sandbox: Sandbox, method: str, path: str, body: Any, **query: str) -> Reply:
    """As the gate does: the body's form, then the endpoint, in one transaction."""
    found = endpoints.find(method, path)
    assert found is not None
    endpoint, id = found
    sent: Document = endpoint.model.model_validate(loads(dumps(body))).sent() if endpoint.model else {}
    with sandbox.ledger.store.transaction():
        return endpoint.do(Call(sandbox.ledger, method, query, sent, id))


class Bookkeeping(RuleBasedStateMachine):
    """Anything a client or a person does to three invoices."""

    def __init__(self) -> None:
        super().__init__()
        self.sandbox = Sandbox(SandboxSettings())
        self.seen: dict[str, str] = {}

    def teardown(self) -> None:
        self.sandbox.close()

    @initialize()
    def begin(self) -> None:
        """Otherwise most runs are over before an invoice can be paid."""
        self.book("N-1", "AUTHORISED", "PUT")
        self.book("N-2", "DRAFT", "PUT")

    @rule(number=NUMBERS, status=STATES, method=st.sampled_from(["PUT", "POST"]))
    def book(self, number: str, status: str, method: str) -> None:
        with suppress(Refused):
            perform(self.sandbox, method, "Invoices", {"Invoices": [invoice(number, Status=status)]})

    @rule(number=NUMBERS, status=STATES)
    def move(self, number: str, status: str) -> None:
        with suppress(Refused, Missing):
            perform(self.sandbox, "POST", f"Invoices/{number}", {"Invoices": [{"Status": status}]})

    @rule(number=NUMBERS, amount=AMOUNTS)
    def pay(self, number: str, amount: Decimal) -> None:
        payment = {"InvoiceNumber": number, "Account": {"Code": "090"}, "Amount": amount}
        with suppress(Refused):
            perform(self.sandbox, "PUT", "Payments", {"Payments": [payment]})

    @rule(number=NUMBERS, amount=AMOUNTS)
    def credit(self, number: str, amount: Decimal) -> None:
        note = invoice(Type="ACCRECCREDIT", InvoiceNumber=None, DueDate=None)
        made = perform(self.sandbox, "PUT", "CreditNotes", {"CreditNotes": [note]}).body["CreditNotes"][0]
        share = {"Invoice": {"InvoiceNumber": number}, "Amount": amount, "Date": "2026-03-04"}
        with suppress(Refused):
            path = f"CreditNotes/{made['CreditNoteID']}/Allocations"
            perform(self.sandbox, "PUT", path, {"Allocations": [share]})

    @rule(number=NUMBERS, act=st.sampled_from(["pay", "void"]))
    def person(self, number: str, act: str) -> None:
        with suppress(Refused, Missing):
            getattr(self.sandbox, act)(number)

    @invariant()
    def amounts_add_up(self) -> None:
        store = self.sandbox.ledger.store
        for one in store.all(invoices.KIND):
            left = one["Total"] - one["AmountPaid"] - one["AmountCredited"]
            gone = one["Status"] in {"VOIDED", "DELETED"}
            assert one["AmountDue"] == (0 if gone else left) >= 0
            assert one["AmountPaid"] == sum(payment["Amount"] for payment in one["Payments"])
            assert one["AmountCredited"] == sum(note["AppliedAmount"] for note in one["CreditNotes"])
            assert (one["Status"] == "PAID") == (not left)
        for note in store.all(credit_notes.KIND):
            assert note["RemainingCredit"] == note["Total"] - sum(one["Amount"] for one in note["Allocations"]) >= 0

    @invariant()
    def only_legal_moves(self) -> None:
        booked = self.sandbox.ledger.store.all(invoices.KIND)
        assert len({one["InvoiceNumber"] for one in booked}) == len(booked)
        for one in booked:
            before = self.seen.get(one["InvoiceNumber"])
            assert before is None or one["Status"] in MOVES[before]
            self.seen[one["InvoiceNumber"]] = one["Status"]


Bookkeeping.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_bookkeeping = Bookkeeping.TestCase

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NUMBER = st.integers(-5, 10**30) | st.decimals("-5", "1e30", places=6)
LINE = st.fixed_dictionaries(
    {"Description": st.just("Box"), "AccountCode": st.just("200")},
    optional={
        "Quantity": NUMBER,
        "UnitAmount": NUMBER,
        "DiscountRate": NUMBER,
        "TaxType": st.sampled_from(["OUTPUT", "x"]),
    },
)
CONTACT = st.fixed_dictionaries({}, optional={"Name": st.text(), "ContactNumber": st.text()})
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "InvoiceNumber": st.text(),
        "Contact": CONTACT | ANYTHING,
        "LineItems": st.lists(LINE, min_size=1, max_size=3) | ANYTHING,
        "Date": st.text() | st.dates().map(str) | st.integers().map(lambda ms: f"/Date({ms})/"),
        "DueDate": st.dates().map(str),
        "Status": STATES,
        "LineAmountTypes": st.sampled_from(["Exclusive", "Inclusive", "NoTax"]),
        "Url": st.text(),
        "CurrencyRate": NUMBER,
    },
)
INVOICE = st.one_of(
    CHANGES.map(lambda changes: invoice() | changes),
    st.lists(LINE, min_size=1, max_size=3).map(lambda lines: invoice(LineItems=lines)),
)


@settings(max_examples=300, deadline=None)
@given(body=st.fixed_dictionaries({"Invoices": st.lists(INVOICE, max_size=3) | ANYTHING}) | ANYTHING)
def test_whatever_is_sent_is_booked_or_refused(body: Any) -> None:
    with quiet_sandbox() as sandbox:
        with suppress(ValidationError, Refused, Malformed):
            reply = perform(sandbox, "PUT", "Invoices", body)
            assert loads(dumps(reply.body)) == reply.body
            kept = sandbox.ledger.store.all(invoices.KIND)
            assert len(kept) == len(body["Invoices"])
            return
        assert sandbox.ledger.store.all(invoices.KIND) == []
        assert sandbox.ledger.store.all("contact") == [], "what is refused leaves nothing behind"


@given(st.text() | st.dates().map(str) | st.datetimes().map(str) | st.integers().map(lambda ms: f"/Date({ms}+0000)/"))
def test_dates_are_read_or_refused(text: str) -> None:
    for read in (read_day, read_since, moment_of):
        with suppress(Malformed):
            read(text)


@given(st.text(alphabet="MonTueJan 0123456789:-+,/ZGMT", max_size=40))
def test_header_moments_are_read_or_refused(text: str) -> None:
    with suppress(Malformed):
        read_since(text)


@given(st.integers(-(10**12), 10**13))
def test_moments_come_back(milliseconds: int) -> None:
    assert moment_of(ms_date(milliseconds / 1000)) == milliseconds / 1000
