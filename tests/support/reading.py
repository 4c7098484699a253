"""Reading what a server answered: streams, reasons, and what holds of every followed run."""

from __future__ import annotations

import hashlib

import grpc
from google.rpc import error_details_pb2, status_pb2

from tria.chat.v1 import chat_event_pb2

TERMINALS = {"completed", "cancelled", "interrupted", "failed"}


def reason(error: grpc.aio.AioRpcError) -> str:
    """The ErrorInfo reason of a failed call, empty when it carries none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


def kinds(events: list[chat_event_pb2.ChatEvent]) -> list[str]:
    """The names of the events, in order."""
    return [str(event.WhichOneof("event")) for event in events]


def text_of(events: list[chat_event_pb2.ChatEvent]) -> str:
    """The joined deltas."""
    return "".join(event.text_delta.text for event in events)


def check_stream(events: list[chat_event_pb2.ChatEvent]) -> None:
    """Gap-free from 1, accepted first, one terminal and it is last, and the text is what its hash says. Each failure
    says what was there: outside of pytest an assertion without words has none."""
    logged = [event for event in events if event.seq]
    numbers, names = [event.seq for event in logged], kinds(logged)
    told = list(zip(numbers, names, strict=True))
    assert logged, f"no event of the log: {kinds(events)}"
    assert numbers == list(range(1, len(logged) + 1)), f"a gap: {told}"
    assert names[0] == "run_accepted", f"accepted is not first: {told}"
    ends = [kind in TERMINALS for kind in names]
    assert ends == [False] * (len(logged) - 1) + [True], f"not one end, at the end: {told}"
    if events[-1].HasField("completed"):
        text = text_of(events)
        hashes = [event.text_done.sha256 for event in events if event.HasField("text_done")]
        wanted = hashlib.sha256(text.encode()).hexdigest()
        assert hashes == [wanted], f"{len(text)} letters of {wanted[:12]}, and the hashes {hashes}"
        ended = events[-1].completed.text
        assert ended == text, f"{len(text)} letters were streamed and {len(ended)} are in the end: {told}"
