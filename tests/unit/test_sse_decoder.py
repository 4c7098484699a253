"""SSE bytes to payloads: the same events however the network cuts them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.chat.sse_decoder import EventTooLargeError, SseDecoder

LINE = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=12)
EVENTS = st.lists(st.lists(LINE, min_size=1, max_size=3), max_size=6)
END = st.sampled_from(["\n", "\r", "\r\n"])
NOISE = st.sampled_from(["", ": ping", "event: message", "id: 7", "retry: 100", "unknown", "data-x: y"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """An encoded stream with every legal freedom, and the payloads that the standard says it carries."""
    text, payloads = draw(st.sampled_from(["", "\ufeff"])), []
    for lines in draw(EVENTS):
        for line in lines:
            noise = draw(NOISE)
            text += noise + draw(END) if noise else ""
            # The one space after the colon belongs to the field, so a value that begins with one needs it.
            space = " " if line.startswith(" ") else draw(st.sampled_from(["", " "]))
            text += f"data:{space}{line}" + draw(END)
        # A CR before an LF would be one line end: the blank line is written so that it cannot join the one before.
        text += "\r\n" if text.endswith("\r") else draw(st.sampled_from(["\n", "\r\n"]))
        text += "\n"
        payload = "\n".join(lines).encode()
        if payload:
            payloads.append(payload)
    return text.encode(), payloads


def decode(stream: bytes, cuts: list[int]) -> list[bytes]:
    decoder = SseDecoder()
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [payload for a, b in pairwise(edges) for payload in decoder.feed(stream[a:b])]


@given(streams(), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_split_gives_the_same_events(stream: tuple[bytes, list[bytes]], cuts: list[int]) -> None:
    encoded, payloads = stream
    assert decode(encoded, cuts) == payloads


@given(streams())
def test_byte_by_byte_gives_the_same_events(stream: tuple[bytes, list[bytes]]) -> None:
    encoded, payloads = stream
    assert decode(encoded, list(range(len(encoded)))) == payloads


def test_an_event_that_the_body_ends_in_is_not_given() -> None:
    assert SseDecoder().feed(b"data: whole\n\ndata: half\n") == [b"whole"]


@pytest.mark.parametrize("piece", [b"x" * 10, b"x" * 10 + b"\ndata: ", b"data: x\n"])
def test_an_event_without_end_is_refused_before_it_fills_memory(piece: bytes) -> None:
    decoder = SseDecoder(limit=1000)
    decoder.feed(b"data: ")
    fed = iter(range(2000))
    with pytest.raises(EventTooLargeError):
        [decoder.feed(piece) for _ in fed]
    assert next(fed) * len(piece) < 10_000


def test_a_long_stream_of_small_events_is_not_refused() -> None:
    decoder = SseDecoder(limit=100)
    assert sum(len(decoder.feed(b"data: 0123456789\n\n" * 10)) for _ in range(50)) == 500
