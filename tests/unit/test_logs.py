"""One well-formed, bounded, scrubbed line per record, whatever the record holds."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server import logs
from server.caller import AuthMethod, Caller, Request, current_caller, current_request

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def stderr(capsys: Capture) -> Iterator[Capture]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield capsys
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)


LOG = logging.getLogger("tests.logs")


def records(stderr: Capture) -> list[dict[str, object]]:
    text = stderr.readouterr().err
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def test_a_line_has_the_ids_of_its_call_and_the_extra_fields(stderr: Capture) -> None:
    logs.configure("INFO", json=True)
    request = current_request.set(
        Request("r-1", "t" * 32, "", "/tria.chat.v1.ChatService/Chat", "ipv4:127.0.0.1:5", "x")
    )
    caller = current_caller.set(Caller("acme", "u", frozenset(), AuthMethod.JWT))
    try:
        LOG.warning(
            "sent to %s", "jo@example.com", extra={"order": "orders/1", "note": "hp 91234567", "level": 3, "n": 2}
        )
    finally:
        current_request.reset(request)
        current_caller.reset(caller)
    (line,) = records(stderr)
    assert str(line.pop("ts")).endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "tests.logs",
        "message": "sent to [EMAIL]",
        "request_id": "r-1",
        "trace_id": "t" * 32,
        "method": "/tria.chat.v1.ChatService/Chat",
        "tenant": "acme",
        "order": "orders/1",
        "note": "hp [PHONE]",
        "extra_level": 3,
        "n": 2,
    }


def test_levels(stderr: Capture) -> None:
    logs.configure("warning", json=True)
    LOG.info("no")
    LOG.error("yes")
    assert [line["message"] for line in records(stderr)] == ["yes"]
    with pytest.raises(ValueError, match="NOISY"):
        logs.configure("NOISY", json=True)


def test_an_error_has_type_message_stack_and_causes_but_no_locals(stderr: Capture) -> None:
    logs.configure("INFO", json=True)

    def fail() -> None:
        secret = "local-value-of-fail"
        try:
            os.environ[secret[:0]]
        except KeyError as error:
            message = "no mailbox for jo@example.com"
            raise LookupError(message) from error

    try:
        fail()
    except LookupError:
        LOG.exception("failed")
    (line,) = records(stderr)
    error = line["error"]
    assert isinstance(error, dict)
    assert (error["type"], error["module"], error["message"]) == ("LookupError", "builtins", "no mailbox for [EMAIL]")
    assert error["stack"][-1].startswith("unit/test_logs.py:")
    assert error["stack"][-1].endswith(" fail")
    assert error["causes"] == ["KeyError: ''"]
    assert "local-value" not in json.dumps(line)


@pytest.mark.parametrize(
    "message",
    [
        "a\r\nb",
        "\x1b[31mred",
        'quote " and \\',
        "\u2028\u2029\x85",
        "x" * 1_000_000,
        "汉" * 100_000,
        "\ud800",
        "\x00",
        "a\u202eb",
        "%s %d",
    ],
)
def test_hostile_messages_make_one_bounded_line(stderr: Capture, message: str) -> None:
    logs.configure("INFO", json=True)
    LOG.info(message, extra={"again": message, "deep": {"k": [message] * 50}})
    text = stderr.readouterr().err
    assert text.count("\n") == 1
    assert len(text.encode()) <= logs.MAX_LINE + 1
    assert not [c for c in text[:-1] if ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029\u202e"]
    json.loads(text)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(), max_size=400),
    st.dictionaries(st.text(max_size=8), st.text(st.characters(), max_size=200), max_size=5),
)
def test_any_text_makes_one_line(stderr: Capture, message: str, extra: dict[str, str]) -> None:
    logs.configure("INFO", json=True)
    LOG.info("%s", message, extra={f"x{key}": value for key, value in extra.items()})
    assert len(records(stderr)) == 1


class _Hostile:
    def __str__(self) -> str:
        message = "cannot be shown 91234567"
        raise RuntimeError(message)

    __repr__ = __str__


def test_a_record_that_cannot_be_formatted_is_reported_without_its_content(stderr: Capture) -> None:
    logs.configure("INFO", json=True)
    LOG.info("hello %s", _Hostile())
    LOG.info("extra", extra={"thing": _Hostile()})
    LOG.info("too %s many", 1, 2)  # noqa: PLE1205 - the mistake is the test
    lines = records(stderr)
    assert lines[0]["message"] == "a log record could not be written"
    assert lines[1]["thing"] == "<tests.unit.test_logs._Hostile>"
    assert lines[2]["message"] == "too %s many (arguments do not fit)"


def test_a_number_across_the_cut_is_hidden(stderr: Capture) -> None:
    logs.configure("INFO", json=True)
    LOG.info("%s hp 91234567", "x" * 4090)
    assert "9123" not in stderr.readouterr().err


def test_for_a_reader(stderr: Capture) -> None:
    logs.configure("INFO", json=False)
    try:
        raise ValueError("bad\nvalue")  # noqa: TRY301
    except ValueError:
        LOG.exception("line\none", extra={"order": "orders/1"})
    lines = stderr.readouterr().err.splitlines()
    assert lines[0].split(" ", 1)[1] == "ERROR   tests.logs  line\\none  order=orders/1"
    assert lines[1] == "  builtins.ValueError: bad\\nvalue"
    assert lines[2].startswith("    at unit/test_logs.py:")


def test_without_a_choice_a_pipe_gets_json(stderr: Capture) -> None:
    logs.configure("INFO")
    LOG.info("hi")
    assert records(stderr)[0]["message"] == "hi"


def test_ids_of_callers_cannot_drive_a_terminal(stderr: Capture) -> None:
    logs.configure("INFO", json=False)
    request = current_request.set(Request("r\x1b[2J\r\nforged", "", "", "/m", "", ""))
    try:
        LOG.info("hi", extra={"k\x1b": 1})
    finally:
        current_request.reset(request)
    text = stderr.readouterr().err
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "\r" not in text
