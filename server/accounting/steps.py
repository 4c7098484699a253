"""What is to be done with an invoice next, and what an answer of the books makes of it: pure rules, no clock, no store.

The order of precautions: an invoice is marked as sent before it is sent. What may have arrived is looked up by its
number before anything else. The same bytes go again with the same key while the books surely remember the key; later,
only after it was not found twice, minutes apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from server.accounting.books import (
    GONE,
    Booked,
    BookedState,
    BooksError,
    Disconnected,
    NotSent,
    OutcomeUnknown,
    Rejected,
    Throttled,
)
from server.accounting.invoice import Invoice, Problem
from server.accounting.problems import foreign, gone, mismatch, problem_of
from server.accounting.states import Event, after
from server.order.invoicing import InvoiceState


@dataclass(frozen=True, slots=True)
class Patience:
    """Times in seconds. A worker that has an invoice for longer than `lease` is taken for dead; an idempotency key is
    used again for `key_life` after its first use (Xero keeps it for six minutes); two times of not being found count
    when they are `apart`; between attempts it waits `first_delay`, doubled up to `max_delay`."""

    lease: float = 50.0
    key_life: float = 300.0
    apart: float = 120.0
    first_delay: float = 1.0
    max_delay: float = 120.0


class Do(StrEnum):
    """What a job does with an invoice."""

    NOTHING = "nothing"
    WAIT = "wait"
    VOID = "void"  # it was never sent and is not wanted any more
    READ_BACK = "read_back"
    REPEAT = "repeat"  # the same bytes with the same key
    SEND = "send"  # with a new key


_SENDABLE = frozenset({
    InvoiceState.QUEUED,
    InvoiceState.WAITING_BUDGET,
    InvoiceState.SENDING,
    InvoiceState.OUTCOME_UNKNOWN,
})  # fmt: skip

_WAITING = frozenset({InvoiceState.QUEUED, InvoiceState.WAITING_BUDGET})

_STANDS: dict[BookedState, Event] = {
    BookedState.DRAFT: Event.BOOK_DRAFT,
    BookedState.SUBMITTED: Event.BOOK_DRAFT,
    BookedState.AUTHORISED: Event.BOOK_AUTHORISED,
    BookedState.PAID: Event.PAY,
}


def next_step(invoice: Invoice, now: datetime, *, blocked: bool) -> Do:
    """`blocked`: an earlier revision is still in the books; its withdrawal queues this one."""
    needless = _needless(invoice)
    if not needless and (invoice.state not in _SENDABLE or (invoice.withdrawn and invoice.in_books)):
        return Do.NOTHING
    if invoice.due_in(now) > 0:
        return Do.WAIT
    if needless:
        return Do.VOID
    if _doubtful(invoice):
        return Do.READ_BACK
    if blocked:
        return Do.NOTHING
    return Do.READ_BACK if invoice.read_first else Do.SEND


def after_absence(
    invoice: Invoice, now: datetime, patience: Patience, *, repeatable: bool = True
) -> tuple[Do, Invoice]:
    """It was looked up and not found: what next, and the invoice with that noted. `repeatable` False: the call that it
    went with cannot be made again as it was; nor can one that was refused as a whole."""
    repeatable = repeatable and not (invoice.alone and invoice.send_count > 1)
    if not invoice.in_doubt or invoice.first_sent_at is None:
        return (Do.VOID if invoice.withdrawn else Do.SEND), invoice
    stale_at = invoice.first_sent_at + timedelta(seconds=patience.key_life)
    if repeatable and now < stale_at and not invoice.withdrawn:
        return Do.REPEAT, invoice
    apart = timedelta(seconds=patience.apart)
    if invoice.absent_at is None or now - invoice.absent_at >= apart:
        invoice = replace(invoice, absences=invoice.absences + 1, absent_at=now)
    if invoice.absences >= 2 and now >= stale_at:
        return (Do.VOID if invoice.withdrawn else Do.SEND), invoice
    again = max((invoice.absent_at or now) + apart, stale_at)
    return Do.WAIT, _lost(invoice, again)


def marked_sending(invoice: Invoice, now: datetime, patience: Patience, key: str, count: int) -> Invoice:
    """Taken by a worker that is about to send it with `key`, together with `count` - 1 others."""
    fresh = key != invoice.send_key
    return replace(
        taken(invoice, now, patience),
        state=after(invoice.state, Event.SEND),
        attempts=invoice.attempts + 1,
        next_attempt_time=None,
        send_key=key,
        send_count=count,
        first_sent_at=now if fresh else invoice.first_sent_at,
        in_doubt=not fresh,  # the same key again: because nobody knows what became of the first time
        read_first=False,
        absences=0 if fresh else invoice.absences,
        absent_at=None if fresh else invoice.absent_at,
        problem=None,
        failed_at=None,
    )


def taken(invoice: Invoice, now: datetime, patience: Patience) -> Invoice:
    """Taken by a worker. One that was being sent by a worker that is gone may have arrived."""
    return replace(
        invoice,
        turn=invoice.turn + 1,
        taken_until=now + timedelta(seconds=patience.lease),
        in_doubt=_doubtful(invoice),
    )


def booked(invoice: Invoice, found: Booked) -> Invoice:
    """The invoice as the books have it. What is found under its number and has another reference is not ours."""
    if not invoice.knows(found) and found.reference != invoice.posting.reference:
        return replace(refused(invoice, foreign(found)), in_doubt=False)
    rest: dict[str, Any] = {
        **_RELEASED, "booked": found, "in_doubt": False, "read_first": False, "absences": 0, "absent_at": None,
    }  # fmt: skip
    if found.state in GONE:
        if invoice.state is InvoiceState.MISMATCH and not invoice.withdrawn:
            return replace(invoice, **rest)  # we took it out ourselves; it still needs a person
        if invoice.read_first and invoice.state in _WAITING and not invoice.withdrawn:
            return replace(invoice, booked=found)  # it made room for the one that a person has asked for
        problem = None if invoice.withdrawn else gone(found)
        return replace(invoice, state=after(invoice.state, Event.VOID), problem=problem, **rest)
    if not invoice.confirmed.fit(found):
        problem = mismatch(invoice.confirmed, found)
        return replace(invoice, state=after(invoice.state, Event.MISMATCH), problem=problem, **rest)
    return replace(invoice, state=after(invoice.state, _STANDS[found.state]), problem=None, failed_at=None, **rest)


def failed(invoice: Invoice, error: BooksError, now: datetime, delay: float, *, wrote: bool) -> Invoice:
    """The books did not do it. `wrote`: the call would have changed them; `delay` seconds until it is tried again."""
    problem = problem_of(error)
    again = now + timedelta(seconds=delay)
    match error:
        case Rejected():  # a final answer: whatever went before it with this key was refused too
            return replace(
                refused(invoice, problem), in_doubt=invoice.in_doubt and not wrote, read_first=True, alone=True
            )
        case Disconnected():
            return refused(_not_sent(invoice) if wrote else invoice, problem)
        case OutcomeUnknown() if wrote:
            return replace(_lost(replace(invoice, in_doubt=True), again), problem=problem)
    if invoice.in_doubt:
        return replace(_lost(invoice, again), problem=problem)
    if isinstance(error, Throttled):  # costs no attempt
        attempts = max(invoice.attempts - wrote, 0)
        waiting = replace(_not_sent(invoice), state=after(invoice.state, Event.THROTTLE), attempts=attempts)
        return replace(waiting, next_attempt_time=again, problem=problem)
    held = replace(_not_sent(invoice), state=after(invoice.state, Event.HOLD_BACK))
    return replace(held, next_attempt_time=again, problem=problem)


def refused(invoice: Invoice, problem: Problem) -> Invoice:
    """A person must help."""
    state = after(invoice.state, Event.REFUSE)
    return replace(invoice, state=state, problem=problem, **_RELEASED)


def held_back(invoice: Invoice) -> Invoice:
    """To be sent anew, at once: what went wrong was the number, or the company."""
    state = after(invoice.state, Event.HOLD_BACK)
    anew: dict[str, Any] = {
        "send_key": "",
        "send_count": 0,
        "first_sent_at": None,
        "in_doubt": False,
        "read_first": False,
    }
    return replace(invoice, state=state, problem=None, **anew, **_RELEASED)


def voided(invoice: Invoice) -> Invoice:
    """It is not, or no longer, in the books."""
    state = after(invoice.state, Event.VOID)
    return replace(
        invoice, state=state, problem=None, failed_at=None, in_doubt=False, read_first=False, **_RELEASED
    )  # fmt: skip


def settled(invoice: Invoice) -> Invoice:
    """Every change ends here: withdrawn and surely not in the books it is void, whatever else was wrong with it; else
    the revision after it would wait for somebody to mend what nobody wants any more."""
    return fenced(voided(invoice)) if _needless(invoice) else invoice


def held_apart(invoice: Invoice, now: datetime) -> Invoice:
    """It went with others, and the call was refused as a whole, which says nothing of each: next time it goes alone.
    That the repeat of a call was refused does not say that the first one did not arrive."""
    apart = replace(invoice, alone=True)
    return _lost(apart, now) if invoice.in_doubt else held_back(apart)


def fenced(invoice: Invoice) -> Invoice:
    """Changed by another hand: the answer that a worker may still wait for is not recorded any more."""
    return replace(invoice, turn=invoice.turn + 1)


def queued(invoice: Invoice) -> Invoice:
    """Asked for again: the same intent, looked up before it is sent if it may ever have been."""
    return replace(
        invoice,
        state=after(invoice.state, Event.QUEUE),
        intent=invoice.intent + 1,
        turn=invoice.turn + 1,
        read_first=invoice.attempts > 0,
        problem=None,
        failed_at=None,
        absences=0,
        absent_at=None,
        **_RELEASED,
    )


def delay_of(error: BooksError, attempts: int, jitter: float, patience: Patience) -> float:
    """Seconds until the next attempt; `jitter` is from 0 to 1."""
    if isinstance(error, Throttled):
        return max(error.retry_after, 0.1) + jitter
    ceiling = min(patience.max_delay, patience.first_delay * 2.0 ** min(attempts, 30))
    least = error.retry_after if isinstance(error, NotSent) else 0.0
    return least + ceiling * (0.5 + jitter / 2)


_RELEASED: dict[str, Any] = {"taken_until": None, "next_attempt_time": None}


def _doubtful(invoice: Invoice) -> bool:
    return invoice.in_doubt or invoice.state is InvoiceState.SENDING


def _needless(invoice: Invoice) -> bool:
    """Not wanted any more, and surely not in the books."""
    sent = invoice.in_doubt or invoice.state in {InvoiceState.SENDING, InvoiceState.OUTCOME_UNKNOWN}
    done_with = invoice.state is InvoiceState.VOIDED and invoice.problem is None
    return invoice.withdrawn and not invoice.in_books and not sent and not done_with


def _lost(invoice: Invoice, again: datetime) -> Invoice:
    state = after(invoice.state, Event.LOSE)
    return replace(invoice, state=state, taken_until=None, next_attempt_time=again)


def _not_sent(invoice: Invoice) -> Invoice:
    """Nothing arrived with this sending; an earlier one with the same key may have."""
    released = replace(invoice, taken_until=None)
    return released if invoice.in_doubt else replace(released, send_key="", send_count=0, first_sent_at=None)
