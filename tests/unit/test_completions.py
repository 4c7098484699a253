"""Chunks of a streamed completion: what they mean, and what is not one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from server.chat.completions import ChunkReader, Finish, ModelError, TextDelta, ToolCallDelta, UsageReport
from server.errors import Reason


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    return orjson.dumps({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more})


def test_text_of_one_read_is_one_delta() -> None:
    payloads = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Good "}), chunk({"content": "day"})]
    assert ChunkReader().read(payloads) == [TextDelta("Good day")]


def test_order_of_text_tools_finish_and_usage_is_kept() -> None:
    reader = ChunkReader()
    call = {"index": 1, "id": "c1", "function": {"name": "order_status", "arguments": "{"}}
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    payloads = [
        chunk({"content": "One"}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [{"index": 1, "function": {"arguments": "}"}}]}),
        chunk(finish="tool_calls"),
        orjson.dumps({"choices": [], "usage": usage}),
        b"[DONE]",
        b"never read",
    ]
    assert reader.read(payloads) == [
        TextDelta("One"),
        ToolCallDelta(1, "c1", "order_status", "{"),
        ToolCallDelta(1, "", "", "}"),
        Finish("tool_calls"),
        UsageReport(10, 8, 4, 3),
    ]
    assert reader.done
    reader.close()


@pytest.mark.parametrize(
    "payload",
    [
        b"{", b"[]", b"3", b"null", b"{}", b"\xff\xfe",
        b'{"choices": 5}',
        b'{"choices": [3]}',
        b'{"choices":[{"delta":{"content":7}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":"x"}]}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":{}}}]}}]}',
        b'{"choices":[],"usage":{"prompt_tokens":"many"}}',
    ],
)  # fmt: skip
def test_what_is_not_a_chunk_is_refused(payload: bytes) -> None:
    with pytest.raises(ModelError) as failed:
        ChunkReader().read([payload])
    assert failed.value.reason == Reason.MODEL_OUTPUT_INVALID


@pytest.mark.parametrize("last", [[], [b"[DONE]"]])
def test_an_end_without_a_finish_reason_is_a_cut(last: list[bytes]) -> None:
    reader = ChunkReader()
    reader.read([chunk({"content": "half an ans"}), *last])
    with pytest.raises(ModelError) as failed:
        reader.close()
    assert failed.value.reason == Reason.MODEL_STREAM_CUT


def test_a_content_filter_is_a_refusal() -> None:
    reader = ChunkReader()
    reader.read([chunk({"content": "I"}), chunk(finish="content_filter")])
    with pytest.raises(ModelError) as failed:
        reader.close()
    assert failed.value.reason == Reason.MODEL_REFUSED


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"message": "boom", "type": "server_error"}, Reason.MODEL_UNAVAILABLE),
        ({"code": "context_length_exceeded"}, Reason.MODEL_CONTEXT_EXCEEDED),
        ("overloaded", Reason.MODEL_UNAVAILABLE),
    ],
)
def test_an_error_inside_the_stream_is_told_apart(error: object, reason: Reason) -> None:
    with pytest.raises(ModelError) as failed:
        ChunkReader().read([orjson.dumps({"error": error})])
    assert failed.value.reason == reason


def test_a_second_choice_is_not_mixed_in() -> None:
    payload = b'{"choices":[{"index":1,"delta":{"content":"other"}},{"index":0,"delta":{"content":"mine"}}]}'
    assert ChunkReader().read([payload]) == [TextDelta("mine")]


def test_what_came_before_a_bad_chunk_is_given_first() -> None:
    """One read of the socket may bring words and a broken chunk: the words were said."""
    reader = ChunkReader()
    assert reader.read([b'{"choices":[{"index":0,"delta":{"content":"Hello"}}]}', b"{broken"]) == [TextDelta("Hello")]
    with pytest.raises(ModelError):
        reader.check()
    with pytest.raises(ModelError):
        reader.close()
