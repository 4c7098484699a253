"""What reaches Sentry, observed at a server that speaks its protocol."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator

import pytest
import sentry_sdk

from server import sentry
from server.caller import Request, current_request
from tests.support.sentry import SentryServer, sentry_server


@pytest.fixture
def server() -> Iterator[SentryServer]:
    with sentry_server() as running:
        sentry.start(running.dsn, "test", "tria@1", traces_sample_rate=1.0)
        yield running
        sentry.stop(2)


def _fail(text: str) -> None:
    password = "hunter2-local"  # noqa: F841 - must not reach the report
    mapping = {"⟦PHONE_1⟧": "hunter2-local"}  # noqa: F841
    customer = "jo@example.com"  # noqa: F841
    raise ValueError(text)


def _report(text: str = "cannot reach 91234567", reason: str = "INTERNAL") -> None:
    try:
        _fail(text)
    except ValueError as error:
        sentry.capture(error, reason=reason)


def test_an_error_is_scrubbed_and_carries_its_reason(server: SentryServer) -> None:
    token = current_request.set(Request("r-1", "ab" * 16, "", "/m", "", ""))
    try:
        with sentry.call_scope("/tria.order.v1.OrderService/GetOrder", [("authorization", "Bearer abc")]):
            logging.getLogger("tests").warning("about %s", "jo@example.com")
            _report()
    finally:
        current_request.reset(token)
    sentry_sdk.flush(2)
    (event,) = server.of("event")
    assert event["exception"]["values"][0]["value"] == "cannot reach [PHONE]"
    assert event["tags"] == {
        "rpc.method": "/tria.order.v1.OrderService/GetOrder",
        "request_id": "r-1",
        "trace": "ab" * 16,
        "reason": "INTERNAL",
    }
    assert event["fingerprint"] == ["{{ default }}", "INTERNAL"]
    assert event["transaction"] == "/tria.order.v1.OrderService/GetOrder"
    assert (event["environment"], event["release"]) == ("test", "tria@1")
    variables = event["exception"]["values"][0]["stacktrace"]["frames"][-1]["vars"]
    assert variables["password"] == "[SECRET]"
    assert variables["mapping"] == "[SECRET]"
    assert variables["customer"] == "'[EMAIL]'"
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["about [EMAIL]"]
    everything = b"".join(server.bodies)
    for leak in (
        b"jo@example.com",
        b"91234567",
        b"hunter2-local",
        b"Bearer abc",
        socket.gethostname().encode(),
        b'server_name":',
    ):
        assert leak not in everything


def test_a_logged_error_is_no_report_of_its_own(server: SentryServer) -> None:
    logging.getLogger("tests").error("boom")
    sentry_sdk.flush(2)
    assert server.of("event") == []


def test_reports_of_one_error_are_sent_once(server: SentryServer) -> None:
    error = ValueError("x")
    sentry.capture(error, reason="INTERNAL")
    sentry.capture(error, reason="INTERNAL")
    sentry_sdk.flush(2)
    assert len(server.of("event")) == 1


async def test_calls_at_the_same_time_do_not_share_a_scope(server: SentryServer) -> None:
    both = asyncio.Barrier(2)

    async def call(name: str) -> None:
        with sentry.call_scope(f"/{name}", []):
            sentry_sdk.set_tag("own", name)
            await both.wait()
            _report(reason=name)
            await both.wait()

    await asyncio.gather(call("a"), call("b"))
    await asyncio.to_thread(sentry_sdk.flush, 2)
    assert sorted((e["tags"]["own"], e["tags"]["reason"], e["transaction"]) for e in server.of("event")) == [
        ("a", "a", "/a"),
        ("b", "b", "/b"),
    ]


def test_a_trace_is_continued_and_its_transaction_named_after_the_method(server: SentryServer) -> None:
    trace = "771a43a4192642f0b136d5159a501700"
    with sentry.call_scope(
        "/tria.chat.v1.ChatService/Chat", [("sentry-trace", f"{trace}-1234567890abcdef-1"), ("x-bin", b"\x00")]
    ):
        pass
    sentry_sdk.flush(2)
    (transaction,) = server.of("transaction")
    assert transaction["transaction"] == "/tria.chat.v1.ChatService/Chat"
    assert transaction["contexts"]["trace"]["trace_id"] == trace
    assert "server_name" not in transaction


def test_callers_cannot_turn_tracing_on() -> None:
    with sentry_server() as running:
        sentry.start(running.dsn, "test", "tria@1")
        with sentry.call_scope("/m", [("sentry-trace", "771a43a4192642f0b136d5159a501700-1234567890abcdef-1")]):
            pass
        sentry.stop(2)
        assert running.of("transaction") == []


def test_without_a_start_nothing_happens() -> None:
    with sentry.call_scope("/m", []):
        _report()
    assert not sentry_sdk.is_initialized()


def test_cancellation_passes_through(server: SentryServer) -> None:
    with pytest.raises(asyncio.CancelledError), sentry.call_scope("/m", []):
        raise asyncio.CancelledError
    sentry_sdk.flush(2)
    assert server.of("event") == []
