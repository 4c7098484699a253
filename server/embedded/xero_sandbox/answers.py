"""Answers in the forms that Xero gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from server.embedded.xero_sandbox.ledger import validation_errors
from server.embedded.xero_sandbox.wire import Document, dumps


def json_text(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="application/json")


def json_answer(body: object, status: int = 200) -> web.Response:
    return json_text(dumps(body), status)


def error(status: int, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Anything but a validation error: a title and a sentence."""
    answer = json_answer({"Title": str(status), "Status": status, "Detail": detail}, status)
    answer.headers.update(headers or {})
    return answer


def refusal(messages: Sequence[str], elements: Sequence[Document] = ()) -> Document:
    """The body of a 400 for what Xero will not book."""
    return {
        "ErrorNumber": 10,
        "Type": "ValidationException",
        "Message": "A validation exception occurred",
        "Elements": list(elements) or [{"ValidationErrors": validation_errors(messages)}],
    }


def validation_error(messages: Sequence[str]) -> web.Response:
    return json_answer(refusal(messages), 400)


def not_understood(problems: Sequence[str]) -> Document:
    """The body of a 400 for a request that is not in Xero's form."""
    return {"ErrorNumber": 14, "Type": "PostDataInvalidException", "Message": "; ".join(problems)}
