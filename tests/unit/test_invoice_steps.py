"""The rules of posting, without clock and store: what they allow, and that nothing is ever booked twice or lost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.accounting import steps
from server.accounting.books import (
    Booked,
    BookedState,
    BooksError,
    Disconnected,
    NotSent,
    NumberTaken,
    OutcomeUnknown,
    Posting,
    Rejected,
    Throttled,
)
from server.accounting.invoice import (
    Invoice,
    Totals,
    booked_from,
    booked_json,
    invoice_number,
    next_edition,
    posting_from,
    posting_json,
)
from server.accounting.problems import problem_of
from server.accounting.states import TRANSITIONS, Event, IllegalEvent, after
from server.accounting.steps import Do, Patience
from server.errors import Reason
from server.order.invoicing import InvoiceLine, InvoiceState
from server.order.money import Money

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
RULES = Patience()
LINE = InvoiceLine("PB-12", "Box", Decimal(100), Decimal("0.65"), "SR", Decimal("0.09"), Decimal(65), Decimal("5.85"))
POSTING = Posting(
    "INV-1", "SO-1", "pizza", "Pizza Pronto", date(2026, 3, 2), date(2026, 4, 1), "SGD", (LINE,), "https://x", True
)
CONFIRMED = Totals("SGD", Decimal(65), Decimal("5.85"), Decimal("70.85"))
INVOICE = Invoice("lumen", "o1", 1, "INV-1", InvoiceState.QUEUED, POSTING, CONFIRMED)


def booked(state: BookedState = BookedState.AUTHORISED, total: str = "70.85", reference: str = "SO-1") -> Booked:
    tax = Decimal(total) - 65
    return Booked("b1", "INV-1", state, Decimal(65), tax, Money("SGD", Decimal(total)), Decimal(0), NOW, reference)


def sent(*, at: datetime = NOW, key: str = "k1") -> Invoice:
    return steps.marked_sending(INVOICE, at, RULES, key, 1)


def failed(invoice: Invoice, error: BooksError, *, wrote: bool = True) -> Invoice:
    return steps.failed(invoice, error, NOW, 1.0, wrote=wrote)


def test_the_table_knows_every_state_and_only_a_person_leads_out_of_voided() -> None:
    assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(InvoiceState)
    assert [event for event in Event if (InvoiceState.VOIDED, event) in TRANSITIONS] == [Event.QUEUE, Event.VOID]
    for state, event in product(InvoiceState, Event):
        if (state, event) in TRANSITIONS:
            assert after(state, event) is TRANSITIONS[state, event]
        else:
            with pytest.raises(IllegalEvent):
                after(state, event)


@pytest.mark.parametrize(
    ("state", "event", "leads_to"),
    [
        ("QUEUED", "send", "SENDING"),
        ("SENDING", "lose", "OUTCOME_UNKNOWN"),
        ("SENDING", "throttle", "WAITING_BUDGET"),
        ("WAITING_BUDGET", "send", "SENDING"),
        ("OUTCOME_UNKNOWN", "book_authorised", "AUTHORISED"),
        ("AUTHORISED", "pay", "PAID"),
        ("SENDING", "mismatch", "MISMATCH"),
        ("SENDING", "refuse", "NEEDS_ATTENTION"),
        ("NEEDS_ATTENTION", "queue", "QUEUED"),
        ("NOT_CONNECTED", "queue", "QUEUED"),
    ],
)
def test_the_way_of_an_invoice(state: str, event: str, leads_to: str) -> None:
    assert after(InvoiceState(state), Event(event)) == leads_to


@pytest.mark.parametrize(
    ("state", "event"),
    [("AUTHORISED", "send"), ("PAID", "send"), ("MISMATCH", "send"), ("VOIDED", "send"), ("NOT_CONNECTED", "send")],
)
def test_what_stands_in_the_books_is_never_sent_again(state: str, event: str) -> None:
    with pytest.raises(IllegalEvent):
        after(InvoiceState(state), Event(event))


def test_what_a_job_does_with_an_invoice() -> None:
    later = NOW + timedelta(hours=1)
    lost = failed(sent(), OutcomeUnknown(""))
    cases: list[tuple[Invoice, datetime, bool, Do]] = [
        (INVOICE, NOW, False, Do.SEND),
        (INVOICE, NOW, True, Do.NOTHING),
        (replace(INVOICE, withdrawn=True), NOW, False, Do.VOID),
        (replace(INVOICE, read_first=True), NOW, False, Do.READ_BACK),
        (sent(), NOW, False, Do.WAIT),
        (sent(), later, False, Do.READ_BACK),  # its worker is gone
        (replace(sent(), withdrawn=True), later, False, Do.READ_BACK),
        (lost, NOW, False, Do.WAIT),
        (lost, later, True, Do.READ_BACK),
        (steps.booked(sent(), booked()), later, False, Do.NOTHING),
        (replace(steps.booked(sent(), booked()), withdrawn=True), later, False, Do.NOTHING),
    ]
    for invoice, now, blocked, expected in cases:
        assert steps.next_step(invoice, now, blocked=blocked) is expected, invoice


def test_what_is_withdrawn_and_surely_not_in_the_books_is_void() -> None:
    gone = steps.booked(sent(), booked(total="70.86"))
    gone = replace(gone, booked=booked(BookedState.VOIDED, "70.86"))
    refused = failed(sent(), Rejected(["no"]))
    for invoice in (INVOICE, gone, refused, replace(INVOICE, state=InvoiceState.NOT_CONNECTED)):
        assert steps.settled(invoice) == invoice, "it is wanted"
        void = steps.settled(replace(invoice, withdrawn=True))
        assert (void.state, void.problem, void.turn) == (InvoiceState.VOIDED, None, invoice.turn + 1)
        assert steps.settled(void) == void
    unclear = (sent(), failed(sent(), OutcomeUnknown("")), steps.booked(sent(), booked()))
    for invoice in unclear:
        withdrawn = replace(invoice, withdrawn=True)
        assert steps.settled(withdrawn) == withdrawn
    assert steps.next_step(replace(gone, withdrawn=True), NOW, blocked=False) is Do.VOID


def test_of_a_call_refused_as_a_whole_what_may_have_arrived_before_stays_in_doubt() -> None:
    first = steps.held_apart(sent(), NOW)
    assert (first.state, first.alone, first.in_doubt, first.send_key) == (InvoiceState.QUEUED, True, False, "")
    repeat = steps.marked_sending(failed(sent(), OutcomeUnknown("")), NOW, RULES, "k1", 3)
    again = steps.held_apart(repeat, NOW)
    assert (again.state, again.alone, again.in_doubt) == (InvoiceState.OUTCOME_UNKNOWN, True, True)
    assert steps.next_step(again, NOW, blocked=False) is Do.READ_BACK
    do, once = steps.after_absence(again, NOW, RULES)
    assert (do, once.absences) == (Do.WAIT, 1), "the call of all of them is not made once more"


def test_not_found_means_the_same_key_soon_and_a_new_one_only_after_twice() -> None:
    lost = failed(sent(), OutcomeUnknown(""))
    assert steps.after_absence(lost, NOW + timedelta(seconds=299), RULES)[0] is Do.REPEAT
    do, once = steps.after_absence(lost, NOW + timedelta(seconds=300), RULES)
    assert (do, once.absences) == (Do.WAIT, 1)
    do, still_once = steps.after_absence(once, NOW + timedelta(seconds=419), RULES)
    assert (do, still_once.absences) == (Do.WAIT, 1)
    do, twice = steps.after_absence(once, NOW + timedelta(seconds=420), RULES)
    assert (do, twice.absences) == (Do.SEND, 2)
    assert steps.after_absence(replace(once, withdrawn=True), NOW + timedelta(seconds=420), RULES)[0] is Do.VOID
    assert steps.after_absence(replace(lost, withdrawn=True), NOW, RULES)[0] is Do.WAIT
    assert steps.after_absence(lost, NOW, RULES, repeatable=False)[0] is Do.WAIT


def test_a_repeat_keeps_the_time_of_the_first_sending() -> None:
    lost = failed(sent(), OutcomeUnknown(""))
    again = steps.marked_sending(lost, NOW + timedelta(minutes=2), RULES, "k1", 1)
    assert (again.first_sent_at, again.in_doubt, again.attempts) == (NOW, True, 2)
    anew = steps.marked_sending(lost, NOW + timedelta(minutes=20), RULES, "k2", 1)
    assert (anew.first_sent_at, anew.in_doubt) == (NOW + timedelta(minutes=20), False)


_S = InvoiceState


@pytest.mark.parametrize(
    ("error", "first", "repeated", "reason"),
    [
        (NotSent("refused"), _S.QUEUED, _S.OUTCOME_UNKNOWN, Reason.ACCOUNTING_UNAVAILABLE),
        (OutcomeUnknown("cut"), _S.OUTCOME_UNKNOWN, _S.OUTCOME_UNKNOWN, Reason.ACCOUNTING_OUTCOME_UNKNOWN),
        (Throttled("day", 60.0), _S.WAITING_BUDGET, _S.OUTCOME_UNKNOWN, Reason.ACCOUNTING_BUDGET_EXHAUSTED),
        (Rejected(["no"]), _S.NEEDS_ATTENTION, _S.NEEDS_ATTENTION, Reason.ACCOUNTING_REJECTED),
        (NumberTaken(["taken"]), _S.NEEDS_ATTENTION, _S.NEEDS_ATTENTION, Reason.INVOICE_NUMBER_TAKEN),
        (Disconnected("gone"), _S.NEEDS_ATTENTION, _S.NEEDS_ATTENTION, Reason.ACCOUNTING_NOT_CONNECTED),
    ],
)
def test_each_error_has_a_state_a_reason_and_a_sentence(
    error: BooksError, first: InvoiceState, repeated: InvoiceState, reason: Reason
) -> None:
    once = failed(sent(), error)
    assert once.state is first
    assert once.problem is not None
    assert (once.problem.reason, bool(once.problem.message), bool(once.problem.fix)) == (reason, True, True)
    again = steps.marked_sending(failed(sent(), OutcomeUnknown("")), NOW, RULES, "k1", 1)
    assert failed(again, error).state is repeated, "what may have arrived stays in doubt"


def test_a_limit_costs_no_attempt() -> None:
    assert failed(sent(), Throttled("minute", 9.0)).attempts == 0
    assert failed(sent(), NotSent("")).attempts == 1


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("Account code '999' is not valid", "XERO_SALES_ACCOUNT_CODE"),
        ("The TaxType code 'X' does not exist", "XERO_TAX_TYPES"),
        ("The Contact is archived", "contact"),
        ("The document date cannot be before the period lock date", "lock dates"),
        ("Organisation is not subscribed to currency EUR", "currency"),
        ("Something else", "Correct what Xero says"),
    ],
)
def test_a_refusal_says_what_to_do(said: str, fix: str) -> None:
    problem = problem_of(Rejected([said]))
    assert problem.message == said
    assert fix in problem.fix


def test_what_the_books_say_is_believed_and_compared() -> None:
    for state, expected in (
        (BookedState.DRAFT, _S.DRAFT),
        (BookedState.SUBMITTED, _S.DRAFT),
        (BookedState.AUTHORISED, _S.AUTHORISED),
        (BookedState.PAID, _S.PAID),
    ):
        found = steps.booked(sent(), booked(state))
        assert (found.state, found.problem, found.in_doubt, found.stopped) == (expected, None, False, False)
    other = steps.booked(sent(), booked(total="70.86"))
    assert (other.state, other.problem and other.problem.reason) == (_S.MISMATCH, Reason.INVOICE_TOTAL_MISMATCH)
    mended = steps.booked(other, booked())
    assert (mended.state, mended.problem) == (_S.AUTHORISED, None)
    not_ours = steps.booked(sent(), booked(reference="another"))
    assert (not_ours.state, not_ours.booked) == (_S.NEEDS_ATTENTION, None)
    assert steps.booked(other, booked(BookedState.VOIDED)).state is _S.MISMATCH


@pytest.mark.parametrize("state", [BookedState.VOIDED, BookedState.DELETED])
def test_what_was_taken_out_over_there_needs_a_person_unless_nobody_wants_it(state: BookedState) -> None:
    gone = steps.booked(sent(), booked(state))
    assert (gone.state, gone.stopped, gone.problem and gone.problem.reason) == (_S.VOIDED, True, Reason.INVOICE_VOIDED)
    again = steps.queued(gone)
    assert (again.state, again.stopped, again.read_first) == (_S.QUEUED, False, True)
    assert steps.booked(again, booked(state)) == replace(again, booked=booked(state)), "the news comes late"
    called_off = steps.settled(replace(gone, withdrawn=True))
    assert (called_off.state, called_off.problem, called_off.stopped) == (_S.VOIDED, None, False)
    unwanted = steps.booked(replace(sent(), withdrawn=True), booked(state))
    assert (unwanted.state, unwanted.problem) == (_S.VOIDED, None)


@given(st.integers(1, 9), st.integers(1, 4))
def test_numbers_are_made_from_order_revision_and_edition(revision: int, edition: int) -> None:
    number = invoice_number("SO-260302-7KQ2M", revision, edition)
    assert number.startswith("INV-260302-7KQ2M")
    assert next_edition(number) == invoice_number("SO-260302-7KQ2M", revision, edition + 1)


def test_postings_and_booked_invoices_survive_their_json() -> None:
    assert posting_from(posting_json(POSTING)) == POSTING
    assert booked_from(booked_json(booked())) == booked()
    assert booked_from(booked_json(None)) is None


@dataclass
class Ledger:
    """Books that lose requests and answers, take their time, and remember keys for six minutes."""

    created: list[str] = field(default_factory=list)  # the key of each sending that made an invoice
    known: dict[str, datetime] = field(default_factory=dict)
    on_the_way: list[tuple[datetime, str]] = field(default_factory=list)

    def arrive(self, now: datetime) -> None:
        """What was sent long enough ago is booked now."""
        for time, key in self.on_the_way:
            if time <= now:
                self.create(key, time, "fine")
        self.on_the_way = [each for each in self.on_the_way if each[0] > now]

    def create(self, key: str, now: datetime, fate: str) -> Booked | BooksError:
        if fate == "refused connection":
            return NotSent(fate)
        if fate == "throttled":
            return Throttled("minute", 5.0)
        if fate == "lost request":
            return OutcomeUnknown(fate)
        if fate == "late":
            self.on_the_way.append((now + timedelta(seconds=90), key))
            return OutcomeUnknown(fate)
        first = self.known.setdefault(key, now)
        if now - first > timedelta(minutes=6):
            self.known[key] = now
            self.created.append(key)  # forgotten: as if it were a new one
        elif first == now and key not in self.created:
            self.created.append(key)
        return OutcomeUnknown(fate) if fate == "lost answer" else booked()


FATES = st.sampled_from(["refused connection", "throttled", "lost request", "lost answer", "late", "fine", "crash"])


@settings(max_examples=400)
@given(st.lists(st.tuples(FATES, st.integers(1, 400)), max_size=25))
def test_whatever_happens_it_is_booked_once(script: list[tuple[str, int]]) -> None:
    """A worker that follows the rules, against books that fail as scripted and then behave."""
    ledger, invoice, now, keys = Ledger(), INVOICE, NOW, 0
    for fate, pause in (*script, *[("fine", 130)] * 12):
        now += timedelta(seconds=pause)
        ledger.arrive(now)
        do = steps.next_step(invoice, now, blocked=False)
        if do is Do.READ_BACK:
            invoice = steps.taken(invoice, now, RULES)
            if fate == "crash":
                continue
            if ledger.created:
                invoice = steps.booked(invoice, booked())
                continue
            do, invoice = steps.after_absence(invoice, now, RULES)
        if do not in {Do.SEND, Do.REPEAT}:
            continue
        keys += do is Do.SEND
        key = f"k{keys}" if do is Do.SEND else invoice.send_key
        invoice = steps.marked_sending(invoice, now, RULES, key, 1)
        if fate == "crash":  # before or after the books had it: here after
            ledger.create(key, now, "lost answer")
            continue
        answer = ledger.create(key, now, fate)
        if isinstance(answer, BooksError):
            invoice = steps.failed(invoice, answer, now, 1.0, wrote=True)
        else:
            invoice = steps.booked(invoice, answer)
    assert invoice.state is InvoiceState.AUTHORISED
    assert len(ledger.created) == 1
