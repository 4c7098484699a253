"""A real HTTP server that speaks Chat Completions and says exactly what a test scripts, for what llmock is too decent
to do: floods, thousands of tool calls, streams without an end, and obeying whatever it is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

# What the model says to one request: the `delta` objects of its chunks, or bytes to be written as they are.
Script = Callable[[dict[str, Any]], Iterable[dict[str, Any] | bytes]]

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


@dataclass
class ScriptedModel:
    """The server's side of a test: what it was sent, and how much it got rid of."""

    script: Script
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    written: int = 0
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            body = await _body(reader)
            self.bodies.append(body)
            writer.write(_HEAD)
            for part in self.script(body):
                data = part if isinstance(part, bytes) else _event(part)
                writer.write(data)
                self.written += len(data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has heard enough, which is what some tests are about
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def scripted_model(script: Script) -> AsyncIterator[ScriptedModel]:
    """The server on a free port of 127.0.0.1."""
    model = ScriptedModel(script)
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield model
    finally:
        server.close()


def text(said: str, size: int = 16) -> Iterator[dict[str, Any] | bytes]:
    """An answer in words."""
    for at in range(0, len(said), size):
        yield {"content": said[at : at + size]}
    yield end("stop")


def calls(named: Iterable[tuple[str, str]]) -> Iterator[dict[str, Any] | bytes]:
    """An answer that calls tools, by name and arguments as they are written."""
    for index, (name, arguments) in enumerate(named):
        yield {
            "tool_calls": [{"index": index, "id": f"c{index}", "function": {"name": name, "arguments": arguments}}],
        }
    yield end("tool_calls")


def end(reason: str) -> bytes:
    """The end of an answer, with its usage."""
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    last = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage})
    return f"data: {last}\n\ndata: [DONE]\n\n".encode()


def _event(delta: dict[str, Any]) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


async def _body(reader: asyncio.StreamReader) -> dict[str, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length"))
    body: dict[str, Any] = json.loads(await reader.readexactly(length))
    return body
