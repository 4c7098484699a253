"""W3C Trace Context: the examples and the rules of the recommendation, and no surprise for anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptors.traceparent import Trace, continued, parse

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_the_example_of_the_recommendation() -> None:
    assert parse(GOOD) == Trace(TRACE, SPAN, "01")


@pytest.mark.parametrize(
    "header",
    [
        "",
        GOOD.upper(),
        GOOD + "\n",
        GOOD + "-extra",  # version 00 has exactly four fields
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"01-{TRACE}-{SPAN}-01-" + "a" * 512,
    ],
)
def test_what_must_be_ignored(header: str) -> None:
    assert parse(header) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse(f"01-{TRACE}-{SPAN}-01-what-the-future-brings") == Trace(TRACE, SPAN, "01")


def test_a_span_of_the_same_trace_is_made() -> None:
    made = continued(GOOD)
    assert (made.trace_id, made.flags) == (TRACE, "01")
    assert made.span_id != SPAN


@given(st.text())
def test_any_text_gives_a_good_header(header: str) -> None:
    made = continued(header)
    assert parse(made.header()) == made


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.integers(0, 255))
def test_whatever_is_written_can_be_read(trace: bytes, span: bytes, flags: int) -> None:
    made = Trace(trace.hex(), span.hex(), f"{flags:02x}")
    expected = made if any(trace) and any(span) else None
    assert parse(made.header()) == expected
