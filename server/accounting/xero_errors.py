"""What a call to Xero came to, said in the errors of the books.

The one question that matters for a write is whether it may have been done. It cannot have been when no connection came
about, or when Xero's answer says no; in every other case the outcome is unknown and must be read back.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import urllib3.exceptions as http
from xero_python.exceptions import ApiSSLException

from server.accounting.books import BooksError, NotSent, NumberTaken, OutcomeUnknown, Rejected, Throttled
from server.accounting.budget import Spent
from server.accounting.xero_wire import Unreadable, read_json

# Seconds to wait where a 429 does not say: concurrent calls end soon, a minute is one, a day may have begun long ago.
_WAITS = {"concurrent": 1.0, "minute": 60.0, "appminute": 60.0, "day": 3600.0}
_LONGEST_WAIT = 86_400.0
_NEVER_CONNECTED = (http.NewConnectionError, http.ConnectTimeoutError, http.LocationValueError, http.ProxyError)
_MOST_MESSAGES = 20


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of Xero's, whatever its status. Names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def spent(self) -> Spent:
        """What the headers say of the budget."""
        problem = self.problem if self.status == 429 else None
        return Spent(
            minute_left=_count(self.headers.get("x-minlimit-remaining")),
            day_left=_count(self.headers.get("x-daylimit-remaining")),
            block=problem.retry_after if problem else 0.0,
            limit=problem.limit if problem else "",
        )

    @property
    def problem(self) -> Throttled:
        """Which limit a 429 is about."""
        limit = self.headers.get("x-rate-limit-problem", "").lower()
        limit = limit if limit in _WAITS else "minute"
        asked = self.headers.get("retry-after", "")
        wait = float(asked) if asked.isdecimal() else _WAITS[limit]
        return Throttled(limit, min(max(wait, 0.1), _LONGEST_WAIT))


class Unanswered(Exception):
    """No answer came; `sent` False when nothing can have left for Xero."""

    def __init__(self, said: str, *, sent: bool) -> None:
        super().__init__(said)
        self.sent = sent

    def judged(self, *, write: bool) -> BooksError:
        """Reading changes nothing, so it may always be done again."""
        return OutcomeUnknown(str(self)) if write and self.sent else NotSent(str(self))


def unanswered(error: http.HTTPError | ApiSSLException) -> Unanswered:
    """What a failure of the transport means."""
    if isinstance(error, ApiSSLException):
        # The SDK keeps only the text of a TLS error; what it was is in its context. A certificate is looked at before
        # anything is sent, whatever else went wrong may have gone wrong later.
        before_sending = _any_cause(error, ssl.SSLCertVerificationError)
    else:
        before_sending = isinstance(error, _NEVER_CONNECTED)
    if before_sending:
        return Unanswered(f"Xero could not be reached ({type(error).__name__})", sent=False)
    return Unanswered(f"Xero gave no answer ({type(error).__name__})", sent=True)


def refused(reply: Reply, *, write: bool) -> BooksError:
    """For an answer that is not a success. 401 and 403 have been dealt with when they come here."""
    if reply.status == 429:
        return reply.problem
    if 400 <= reply.status < 500 and reply.status not in {408, 409}:
        return rejected(messages_of(reply) or [f"Xero refused the request (status {reply.status})"])
    said = f"Xero answered with status {reply.status}"
    return OutcomeUnknown(said) if write else NotSent(said)


def rejected(messages: Sequence[str]) -> Rejected:
    """Xero's validation errors as they are; a number that is taken has an error of its own."""
    taken = any("must be unique" in text and "#" in text for text in messages)
    return NumberTaken(messages) if taken else Rejected(messages)


def messages_of(reply: Reply) -> list[str]:
    """The validation errors of a 400, or what else the body says."""
    try:
        told = read_json(reply.body)
    except Unreadable:
        return []
    if not isinstance(told, dict):
        return []
    elements = told.get("Elements")
    found = [text for element in elements for text in validation_errors(element)] if isinstance(elements, list) else []
    if not found:
        found = [str(told[name]) for name in ("Detail", "Message", "Title") if told.get(name)][:1]
    return [text[:500] for text in found[:_MOST_MESSAGES]]


def validation_errors(element: Any) -> list[str]:
    """Of one invoice, contact or credit note as Xero echoes it, and of what is in it."""
    if not isinstance(element, dict):
        return []
    errors = element.get("ValidationErrors")
    found = [str(each.get("Message", "")) for each in errors if isinstance(each, dict)] if errors else []
    for inner in (element.get("Contact"), *(element.get("LineItems") or ())):
        found += validation_errors(inner)
    return list(dict.fromkeys(text for text in found if text))


def _count(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _any_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind) or any(isinstance(each, kind) for each in error.args):
            return True
        error = error.__cause__ or error.__context__
    return False
