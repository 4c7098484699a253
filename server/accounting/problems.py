"""What the books' refusals mean for a person: a reason, their own sentences, and what to do."""

from __future__ import annotations

import re

from server.accounting.books import (
    Booked,
    BooksError,
    Disconnected,
    NotSent,
    NumberTaken,
    OutcomeUnknown,
    Rejected,
    Throttled,
)
from server.accounting.invoice import Problem, Totals
from server.errors import Reason

_MOST = 1900  # characters of a message; the contract allows 2,000

# What Xero's validation sentences are about, and what to do: the first that fits.
_FIXES = (
    (r"account", "Check XERO_SALES_ACCOUNT_CODE against the chart of accounts in Xero, then retry."),
    (r"tax", "Check XERO_TAX_TYPES and the tax rates in Xero, then retry."),
    (r"contact", "Correct or unarchive the outlet's contact in Xero, then retry."),
    (r"period|lock", "Open the period in Xero (lock dates), then retry."),
    (r"currency", "Add the currency to the organisation in Xero, then retry."),
    (r"payment|paid", "Remove the payment or credit it in Xero, then retry."),
)
_OTHERWISE = "Correct what Xero says, then retry."

_TAKEN_FIX = "Rename or remove the other invoice of this number in Xero, then retry."
_WAIT = "Nothing is to be done: it is tried again by itself."


def problem_of(error: BooksError) -> Problem:
    """By the kind of error."""
    match error:
        case NumberTaken():
            return Problem(Reason.INVOICE_NUMBER_TAKEN, _said(error), _TAKEN_FIX)
        case Rejected():
            return Problem(Reason.ACCOUNTING_REJECTED, _said(error), _fix(str(error)))
        case Throttled():
            message = f"The {error.limit} limit of Xero's calls is used up."
            return Problem(Reason.ACCOUNTING_BUDGET_EXHAUSTED, message, _WAIT)
        case Disconnected():
            return Problem(
                Reason.ACCOUNTING_NOT_CONNECTED,
                _said(error) or "Xero is not connected.",
                "Connect Xero again; the invoice is then posted by itself.",
            )
        case OutcomeUnknown():
            return Problem(Reason.ACCOUNTING_OUTCOME_UNKNOWN, _said(error) or "Xero gave no answer.", _WAIT)
        case NotSent():
            return Problem(Reason.ACCOUNTING_UNAVAILABLE, _said(error) or "Xero cannot be reached.", _WAIT)
        case _:
            return Problem(Reason.ACCOUNTING_UNAVAILABLE, _said(error), _WAIT)


def mismatch(confirmed: Totals, booked: Booked) -> Problem:
    """Booked with other totals than the customer confirmed."""
    message = (
        f"Xero booked {booked.total} ({booked.subtotal} and {booked.tax} tax); the customer confirmed "
        f"{confirmed.currency} {confirmed.total:.2f} ({confirmed.subtotal:.2f} and {confirmed.tax:.2f} tax)."
    )
    fix = "Check the tax rates and the rounding of Xero against TAX_RATE and XERO_TAX_TYPES, then retry."
    return Problem(Reason.INVOICE_TOTAL_MISMATCH, message, fix)


def gone(booked: Booked) -> Problem:
    """Taken out of the books by somebody there; nobody here has called the order off."""
    message = f"{booked.number} was {booked.state.lower()} in Xero, and its order stands."
    return Problem(Reason.INVOICE_VOIDED, message, "Retry to book it under its next number, or cancel the order.")


def foreign(booked: Booked) -> Problem:
    """The number belongs to an invoice that is not ours."""
    message = f"Xero has another invoice with the number {booked.number}, over {booked.total}."
    return Problem(Reason.INVOICE_NUMBER_TAKEN, message, _TAKEN_FIX)


def partly_credited(booked: Booked) -> Problem:
    """It is to be credited, and somebody has credited a part of it."""
    message = f"{booked.credited} of {booked.total} is credited in Xero already; the rest is not credited by itself."
    return Problem(Reason.ACCOUNTING_REJECTED, message, "Credit the rest in Xero, then retry.")


def _said(error: BooksError) -> str:
    return str(error).strip()[:_MOST]


def _fix(message: str) -> str:
    return next((fix for pattern, fix in _FIXES if re.search(pattern, message, re.IGNORECASE)), _OTHERWISE)
