"""What a token costs from the provider on: the SDK's typed chunks against our byte path with the relay.

    python -m tests.performance.bench_relay [--streams 20] [--tokens 400] [--rounds 3]

A raw asyncio SSE server in a child process sends the same bytes to both, one TCP write per token ("paced") or as fast
as it can ("burst"). Costs are CPU time of this process; rounds alternate and the median counts. The machine moves the
absolute figures by a fifth from hour to hour: the ratio is what to compare.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from multiprocessing.connection import Connection

import click
import orjson
import uvloop
from openai import AsyncOpenAI

from server.chat.completions import ModelCall, TextDelta
from server.chat.openai_stream import ModelSettings, OpenAIStream, open_stream
from server.chat.relay import DeltaRelay, SharedTick

_QUESTION = "Until when can I order?"
_PACE = 0.02
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "bench",
        "system_fingerprint": "fp_bench",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
    }
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _serve(ready: Connection, tokens: int) -> None:
    """The provider: the path's last part, "paced" or "burst", says how it sends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                pace = _PACE if b"/paced/" in head.split(b"\r\n")[0] else 0.0
                writer.write(_HEAD)
                for body in [_event({"content": "word "})] * tokens + [_event({}, "stop") + b"data: [DONE]\n\n"]:
                    writer.write(b"%x\r\n%b\r\n" % (len(body), body))
                    if pace:
                        await asyncio.sleep(pace)
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


async def _typed(client: AsyncOpenAI) -> int:
    stream = await client.chat.completions.create(
        model="bench", messages=[{"role": "user", "content": _QUESTION}], stream=True
    )
    seen = 0
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            seen += len(chunk.choices[0].delta.content)
    return seen


async def _bytes(stream: OpenAIStream, tick: SharedTick, deltas: list[int]) -> int:
    seen = 0

    def emit(text: str) -> None:
        nonlocal seen
        seen += len(text)
        deltas.append(len(text))

    relay = DeltaRelay(tick, emit)
    call = ModelCall([{"role": "user", "content": _QUESTION}], asyncio.get_running_loop().time() + 120, 1000)
    async for event in stream.events(call):
        if isinstance(event, TextDelta):
            relay.push(event.text)
    relay.flush()
    return seen


async def _cost(one: Callable[[], Awaitable[int]], streams: int, tokens: int) -> float:
    """Microseconds of CPU per token over `streams` concurrent streams."""
    before = time.process_time()
    seen = await asyncio.gather(*(one() for _ in range(streams)))
    spent = time.process_time() - before
    if set(seen) != {tokens * len("word ")}:
        message = "a path lost text"
        raise RuntimeError(message)
    return spent / (streams * tokens) * 1e6


async def _compare(port: int, streams: int, tokens: int, rounds: int) -> None:
    for mode in ("paced", "burst"):
        url = f"http://127.0.0.1:{port}/{mode}/v1"
        typed_costs, byte_costs, deltas = [], [], list[int]()
        async with (
            AsyncOpenAI(api_key="bench", base_url=url, max_retries=0) as client,
            open_stream(ModelSettings("bench", "bench", url)) as stream,
        ):
            tick = SharedTick(asyncio.get_running_loop())
            await _typed(client)
            await _bytes(stream, tick, [])
            for _ in range(rounds):
                typed_costs.append(await _cost(partial(_typed, client), streams, tokens))
                byte_costs.append(await _cost(partial(_bytes, stream, tick, deltas), streams, tokens))
        typed, ours = statistics.median(typed_costs), statistics.median(byte_costs)
        click.echo(
            f"{mode}: typed SDK {typed:.1f} us/token, byte path with relay {ours:.1f} us/token, "
            f"ratio {typed / ours:.1f}, {rounds * streams * tokens / len(deltas):.1f} tokens per delta"
        )


@click.command(help=__doc__)
@click.option("--streams", default=20, show_default=True)
@click.option("--tokens", default=400, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(streams: int, tokens: int, rounds: int) -> None:
    """Runs both paths and prints one line per way of sending."""
    receive, send = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(send, tokens), daemon=True)
    server.start()
    try:
        uvloop.run(_compare(receive.recv(), streams, tokens, rounds))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
